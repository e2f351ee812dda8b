//! One source, several takers.

use std::sync::Arc;

use async_trait::async_trait;

use crate::component::{Consumer, Refused};
use crate::data::Data;

/// Joins several consumers into one. A single one is returned as it is; none is `None`.
pub(super) fn join(mut consumers: Vec<Arc<dyn Consumer>>) -> Option<Arc<dyn Consumer>> {
    if consumers.len() < 2 { consumers.pop() } else { Some(Arc::new(FanOut { consumers })) }
}

/// Gives every consumer the data, also after one has refused it.
struct FanOut {
    consumers: Vec<Arc<dyn Consumer>>,
}

#[async_trait]
impl Consumer for FanOut {
    /// Refused if anyone refuses. Then the ones who took the data get it again if it is offered again, as in
    /// the Collector: doubled data can be told apart by its uid, lost data cannot be had back.
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        let mut refusals = Vec::new();
        if let Some((last, others)) = self.consumers.split_last() {
            for consumer in others {
                refusals.extend(consumer.consume(data.clone()).await.err());
            }
            refusals.extend(last.consume(data).await.err());
        }
        merge(refusals)
    }
}

/// One permanent refusal makes the whole permanent: offering the data again would never be taken by all.
fn merge(refusals: Vec<Refused>) -> Result<(), Refused> {
    let permanent = refusals.iter().any(|refusal| matches!(refusal, Refused::Permanent(_)));
    let reasons = refusals.into_iter().map(|refusal| match refusal {
        Refused::Retryable(reason) | Refused::Permanent(reason) => reason,
    });
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    match (reasons.is_empty(), permanent) {
        (true, _) => Ok(()),
        (false, true) => Err(Refused::Permanent(reasons)),
        (false, false) => Err(Refused::Retryable(reasons)),
    }
}
