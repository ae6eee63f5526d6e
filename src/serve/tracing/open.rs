//! The requests and calls that are being traced, so that what they call is found to be below them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The traces of what runs now, by the identity that workers know it by.
#[derive(Debug, Default)]
pub struct Open {
    traces: Mutex<BTreeMap<Arc<str>, Arc<str>>>,
}

/// What is being traced, for as long as it runs.
#[derive(Debug)]
pub struct Entered {
    open: Arc<Open>,
    id: Arc<str>,
}

impl Open {
    /// Takes note that what has this identity, a span's, is part of a trace.
    pub fn enter(self: &Arc<Self>, id: &Arc<str>, trace: &Arc<str>) -> Entered {
        self.lock().insert(Arc::clone(id), Arc::clone(trace));
        Entered { open: Arc::clone(self), id: Arc::clone(id) }
    }

    /// Returns the trace that this is part of, if it is traced.
    pub fn trace_of(&self, id: &str) -> Option<Arc<str>> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<str>>> {
        // Nothing panics while the lock is held.
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.open.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_known_while_it_runs() {
        let open = Arc::new(Open::default());
        let entered = open.enter(&"1".into(), &"a".into());
        assert_eq!(open.trace_of("1").as_deref(), Some("a"));
        assert_eq!(open.trace_of("2"), None);
        drop(entered);
        assert_eq!(open.trace_of("1"), None);
    }
}
