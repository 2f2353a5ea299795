//! Which seeds are run, and what is said of one that fails.

/// Runs `one` for every seed: `SEEDS` of them, or `few` by default; only
/// `SEED` where that is set. A seed has a thread of its own, so that nothing
/// of an earlier one is left in thread-locals.
pub fn each(test: &'static str, few: u64, one: fn(u64) -> Result<(), String>) {
    let (first, count) = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => (seed, 1),
        (None, count) => (0, count.unwrap_or(few)),
    };
    for seed in first..first + count {
        let ran = alone(move || one(seed));
        if let Err(wrong) = ran {
            panic!(
                "{test}: seed {seed} fails: {wrong}\n\
                 run it alone: SEED={seed} cargo test -p kamacache-core --test sim {test}"
            );
        }
        tell(test, seed + 1 - first);
    }
}

/// How far a long run is, for `--nocapture`.
#[expect(clippy::print_stdout, reason = "who waits for thousands wants to know")]
fn tell(test: &str, done: u64) {
    if done.is_multiple_of(100) {
        println!("{test}: {done} seeds held");
    }
}

/// On a thread of its own; a panic is a failure with its text.
pub fn alone<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let ran = std::thread::spawn(run).join();
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(text.unwrap_or_else(|| "a panic without text".into()))
    })
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is not a number of seeds")),
    )
}
