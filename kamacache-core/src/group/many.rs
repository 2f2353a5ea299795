//! Many keys at once: one pass over what is here; what is asked of one owner
//! leaves as one message and is waited for as a whole; what this node has to
//! load is one call of a batch getter.

use std::sync::Arc;
use std::time::Duration;

use super::far::Far;
use super::{GroupInner, Lead};
use crate::load::LoadToken;
use crate::pending::{Begin, Pending};
use crate::{Error, Result, Value};

/// The keys of one caller, by their places in its list.
struct Many {
    results: Vec<Option<Result<Value>>>,
    leads: Vec<LoadToken>,
    waits: Vec<(usize, Pending)>,
}

impl GroupInner {
    pub(crate) async fn get_many(
        self: &Arc<Self>,
        keys: &[impl AsRef<str>],
        timeout: Option<Duration>,
    ) -> Vec<Result<Value>> {
        let mut many = Many {
            results: keys.iter().map(|_| None).collect(),
            leads: Vec::new(),
            waits: Vec::new(),
        };
        let mut far = Far::new(self, timeout);
        {
            let view = self.state.peers.view();
            // What goes to one owner leaves together.
            let _corks: Vec<_> = view.links().map(|link| link.cork()).collect();
            for (place, key) in keys.iter().enumerate() {
                let key = key.as_ref();
                match self.answer_here(key) {
                    Some(answer) => many.results[place] = Some(answer),
                    None if far.takes(&view, place, key) => {}
                    None => self.begin_one(&mut many, place, key, timeout),
                }
            }
            far.ask();
        }
        self.finish(&mut many).await;
        let rest = far.wait(&mut many.results).await;
        for place in rest.alone {
            self.begin_one(&mut many, place, keys[place].as_ref(), Some(far.left()));
        }
        many.waits.extend(rest.large);
        self.finish(&mut many).await;
        let lost = || {
            Err(Error::internal(
                "a key of a batch was neither found nor asked for",
            ))
        };
        let results = many.results.into_iter();
        results.map(|result| result.unwrap_or_else(lost)).collect()
    }

    /// Loads what this node has to load, and waits for all that has begun.
    async fn finish(self: &Arc<Self>, many: &mut Many) {
        if !many.leads.is_empty() {
            self.start_many(std::mem::take(&mut many.leads));
        }
        for (place, pending) in std::mem::take(&mut many.waits) {
            many.results[place] = Some(pending.wait().await);
        }
    }

    /// A key that is not here, as a Get of its own.
    fn begin_one(
        self: &Arc<Self>,
        many: &mut Many,
        place: usize,
        key: &str,
        timeout: Option<Duration>,
    ) {
        match self.begin_miss(None, key, timeout, Lead::Anywhere) {
            Ok(Begin::Hit(value)) => many.results[place] = Some(Ok(value)),
            Ok(Begin::Wait(pending)) => many.waits.push((place, pending)),
            Ok(Begin::Lead(token, pending)) => {
                many.leads.push(token);
                many.waits.push((place, pending));
            }
            Err(error) => many.results[place] = Some(Err(error)),
        }
    }
}
