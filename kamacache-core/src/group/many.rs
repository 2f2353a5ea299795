//! Many keys at once: one pass over what is here; what is asked of one owner
//! queues behind itself and leaves as one message; what this node has to load
//! is one call of a batch getter.

use std::sync::Arc;
use std::time::Duration;

use super::{GroupInner, Lead};
use crate::pending::Begin;
use crate::{Result, Value};

impl GroupInner {
    pub(crate) async fn get_many(
        self: &Arc<Self>,
        keys: &[impl AsRef<str>],
        timeout: Option<Duration>,
    ) -> Vec<Result<Value>> {
        let view = self.state.peers.view();
        let corks: Vec<_> = view.links().map(|link| link.cork()).collect();
        drop(view);
        let mut leads = Vec::new();
        let begun: Vec<_> = keys
            .iter()
            .map(
                |key| match self.begin(None, key.as_ref(), timeout, Lead::Anywhere) {
                    Ok(Begin::Lead(token, pending)) => {
                        leads.push(token);
                        Ok(Begin::Wait(pending))
                    }
                    other => other,
                },
            )
            .collect();
        drop(corks);
        if !leads.is_empty() {
            self.start_many(leads);
        }
        let mut results = Vec::with_capacity(begun.len());
        for begun in begun {
            results.push(match begun {
                Ok(begun) => self.complete_here(begun).await,
                Err(error) => Err(error),
            });
        }
        results
    }
}
