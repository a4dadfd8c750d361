//! Random numbers that are a pure function of the event's number, the same on every machine.

use crate::sequence::mix;

/// What a random number is for: draws of one event for different things are independent.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(super) enum Lane {
    Auction = 1,
    Bidder,
    Price,
    Reserve,
    Length,
    Seller,
    Category,
    Channel,
    Url,
    Extra,
    Name,
    Email,
    CreditCard,
    City,
    State,
    ItemName,
    Description,
}

/// 64 random bits for an event and a purpose.
#[inline]
pub(super) fn draw(number: u64, lane: Lane) -> u64 {
    mix(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (lane as u64).wrapping_mul(0xd1b5_4a32_d192_ed03))
}

/// A number below `bound`, made of the upper half of the bits.
#[inline]
pub(super) fn below_high(bits: u64, bound: u64) -> u64 {
    ((bits >> 32) * bound) >> 32
}

/// A number below `bound`, made of the lower half of the bits.
#[inline]
pub(super) fn below_low(bits: u64, bound: u64) -> u64 {
    ((bits & 0xffff_ffff) * bound) >> 32
}

/// Random numbers without end, from one draw.
pub(super) struct Stream(u64);

impl Stream {
    /// The numbers that follow from a draw.
    pub(super) fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The next 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which is below 2^32.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        below_high(self.bits(), bound)
    }
}

/// Prices: 10 to the power of a uniform number from 0 to 6, times 100, rounded.
///
/// The power is put together from tables that are made by square roots and products only. Both are
/// exact to the last bit everywhere, which the `pow` of a platform is not.
pub(super) struct Prices {
    /// `2^(i / 256)`.
    coarse: [f64; 256],
    /// `2^(i / 65536)`.
    fine: [f64; 256],
}

impl Prices {
    pub(super) fn new() -> Self {
        let step = |halvings: u32| (0..halvings).fold(2.0_f64, |x, _| x.sqrt());
        let table = |step: f64| {
            let mut values = [1.0; 256];
            for i in 1..256 {
                values[i] = values[i - 1] * step;
            }
            values
        };
        Self { coarse: table(step(8)), fine: table(step(16)) }
    }

    /// The price for 64 random bits, in cents: from 100 to 100,000,000.
    #[inline]
    pub(super) fn price(&self, bits: u64) -> i64 {
        // 6 * log2(10), by which a uniform number becomes an exponent of 2.
        const SPAN: f64 = 19.931_568_569_324_174;
        let exponent = (bits >> 11) as f64 * (1.0 / (1_u64 << 53) as f64) * SPAN;
        let fixed = (exponent * 65_536.0) as u64;
        let rest = (exponent - fixed as f64 * (1.0 / 65_536.0)) * std::f64::consts::LN_2;
        let power = (1_u64 << (fixed >> 16)) as f64
            * self.coarse[(fixed >> 8 & 0xff) as usize]
            * self.fine[(fixed & 0xff) as usize]
            * (1.0 + rest);
        (power * 100.0 + 0.5) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_powers_of_ten_of_a_uniform_number() {
        let prices = Prices::new();
        for bits in (0..2_000_u64).map(|i| mix(i + 1)) {
            let uniform = (bits >> 11) as f64 / (1_u64 << 53) as f64;
            let expected = 10_f64.powf(uniform * 6.0) * 100.0;
            let got = prices.price(bits) as f64;
            assert!((got - expected).abs() <= 0.5 + expected * 1e-9, "{got} is not {expected}");
        }
        assert_eq!((prices.price(0), prices.price(u64::MAX)), (100, 100_000_000));
    }

    #[test]
    fn draws_are_spread_evenly_and_independent_by_lane() {
        let mut counts = [[0_u32; 4]; 4];
        for number in 0..40_000 {
            let (a, b) = (draw(number, Lane::Auction), draw(number, Lane::Bidder));
            counts[below_low(a, 4) as usize][below_high(b, 4) as usize] += 1;
        }
        assert!(counts.iter().flatten().all(|n| (2_200..2_800).contains(n)), "{counts:?}");
    }
}
