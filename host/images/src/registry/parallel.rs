//! A few things at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many layers are on their way at once; what Docker does too.
const AT_ONCE: usize = 3;

/// Does `work` for every number below `count`, a few at once. After the first error nothing new begins and `given_up`
/// is true; the first error is the answer.
pub(super) fn each<T: Send, E: Send>(
    count: usize,
    given_up: &AtomicBool,
    work: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<T>>> = Mutex::new((0..count).map(|_| None).collect());
    let failed: Mutex<Option<E>> = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count) {
            scope.spawn(|| {
                while !given_up.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    match work(number) {
                        Ok(result) => {
                            done.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(result);
                        }
                        Err(e) => {
                            // Those who are told to give up fail too, and their errors say nothing.
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                            given_up.store(true, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()),
    }
}
