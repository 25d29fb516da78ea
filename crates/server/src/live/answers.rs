//! Answers to calls with a key, for clients that ask again because they did not get one. In memory: they are about things that live
//! there too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// So many keys are remembered.
const MOST: usize = 256;

type Cell<T> = Arc<OnceCell<T>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Answers<T> {
    known: Mutex<VecDeque<(String, Cell<T>)>>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<T: Clone> Answers<T> {
    /// Does the work, unless it was done under this key; then answers the same. While it is being done, others with its key wait. A
    /// failure is not remembered.
    pub(crate) async fn once<E>(&self, key: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let found = known.iter().find(|(other, _)| other == key).map(|(_, cell)| Arc::clone(cell));
            found.unwrap_or_else(|| {
                if known.len() == MOST {
                    known.pop_front();
                }
                let cell = Cell::default();
                known.push_back((key.to_owned(), Arc::clone(&cell)));
                cell
            })
        };
        cell.get_or_try_init(|| work).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_once_for_each_key_and_failures_again() {
        let answers = Answers::default();
        assert_eq!(answers.once("a", async { Err::<u32, _>("no") }).await, Err("no"));
        assert_eq!(answers.once("a", async { Ok::<_, &str>(1) }).await, Ok(1));
        assert_eq!(answers.once("a", async { Ok::<_, &str>(2) }).await, Ok(1));
        for other in 0..MOST {
            assert_eq!(answers.once(&other.to_string(), async { Ok::<_, &str>(3) }).await, Ok(3));
        }
        assert_eq!(answers.once("a", async { Ok::<_, &str>(4) }).await, Ok(4));
    }
}
