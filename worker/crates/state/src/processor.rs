//! What processors can do and the language has no words for.

/// Has a place loaded near to the core without waiting for it.
#[inline]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "the standard library has no safe prefetch")]
    // SAFETY: a prefetch changes nothing and never faults, and every x86-64 has the instruction.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// A bit for each value that is this one, the first in the lowest place.
#[inline]
pub(crate) fn equal(values: &[u32; 8], to: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "the compiler does not find this form by itself")]
    // SAFETY: the values are read within their bounds and need not be aligned; every x86-64 has SSE2.
    unsafe {
        use std::arch::x86_64::{
            _mm_cmpeq_epi32, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32,
            _mm_set1_epi32,
        };
        let to = _mm_set1_epi32(to.cast_signed());
        let half = |at| _mm_cmpeq_epi32(_mm_loadu_si128(values.as_ptr().add(at).cast()), to);
        let both = _mm_packs_epi32(half(0), half(4));
        (_mm_movemask_epi8(_mm_packs_epi16(both, both)) as u32) & 0xff
    }
    #[cfg(not(target_arch = "x86_64"))]
    values.iter().enumerate().fold(0, |all, (at, value)| all | u32::from(*value == to) << at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_found_wherever_they_are() {
        for pattern in 0..256_u32 {
            let values =
                std::array::from_fn(|at| if pattern >> at & 1 == 1 { u32::MAX - 1 } else { at as u32 });
            assert_eq!(equal(&values, u32::MAX - 1), pattern);
        }
    }
}
