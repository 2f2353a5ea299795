//! The store's locks and shared numbers, in one place so that a model checker can stand in.
//!
//! Invariant: with `--cfg shuttle` every lock and every shared number of the store goes through
//! shuttle's scheduler; otherwise they are parking_lot's and std's.

#[cfg(not(shuttle))]
pub(crate) use parking_lot::{RwLock, RwLockWriteGuard};
#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(shuttle)]
pub(crate) use modelled::RwLock;
#[cfg(shuttle)]
pub(crate) use shuttle::sync::RwLockWriteGuard;
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(shuttle)]
mod modelled {
    use shuttle::sync::{RwLockReadGuard, RwLockWriteGuard};

    /// shuttle's lock with parking_lot's manners: no poisoning.
    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            RwLock(shuttle::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0
                .read()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }
}
