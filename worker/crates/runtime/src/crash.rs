//! Ends the process at a named point, so that tests can show that it may die there. In debug builds only; in a
//! release there is nothing of it.

/// A step of the protocol is reached. If the environment variable `WEIR_CRASH_AT` is `name:n` and this is the
/// `n`th time (from 1), the process ends here as by SIGKILL: nothing more is said, written or cleaned up.
#[inline]
pub fn crash_point(name: &str) {
    #[cfg(debug_assertions)]
    armed::reached(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        name: String,
        left: AtomicU64,
    }

    static ARMED: LazyLock<Option<Armed>> =
        LazyLock::new(|| std::env::var("WEIR_CRASH_AT").ok().and_then(|text| parse(&text)));

    fn parse(text: &str) -> Option<Armed> {
        let (name, times) = text.rsplit_once(':')?;
        Some(Armed { name: name.to_owned(), left: AtomicU64::new(times.parse().ok()?) })
    }

    pub(super) fn reached(name: &str) {
        let Some(armed) = ARMED.as_ref().filter(|armed| armed.name == name) else { return };
        if armed.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            std::process::abort();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_is_armed_by_its_name_and_a_number() {
            let armed = parse("worker:upload:before:3").expect("well formed");
            assert_eq!((armed.name.as_str(), armed.left.into_inner()), ("worker:upload:before", 3));
            assert!(parse("").is_none() && parse("upload").is_none() && parse("upload:x").is_none());
        }
    }
}
