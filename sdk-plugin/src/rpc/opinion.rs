//! Second opinions: the same reads by two nodes, so that one node that lags or lies does not decide alone.

use super::Answers;
use crate::host::RpcCall;
use crate::{Cx, Fault};

/// The results of each node that answered.
#[derive(Debug)]
pub struct NodeAnswers {
    /// One entry per node, at least one.
    pub sets: Vec<Answers>,
    /// The network has two nodes or more, and only one answered.
    pub one_is_missing: bool,
}

/// The same reads by two nodes. Where no two nodes answer, the results of one.
///
/// # Errors
/// No node answers.
pub async fn compare_or_read(cx: &Cx, calls: Vec<RpcCall>) -> Result<NodeAnswers, Fault> {
    let (sets, one_is_missing) = match cx.compare(calls.clone()).await {
        Ok(sets) => (sets, false),
        Err(_) => (vec![cx.read(calls).await?], true),
    };
    Ok(NodeAnswers {
        sets: sets.into_iter().map(Answers::from).collect(),
        one_is_missing,
    })
}

/// What nodes show, one opinion per node, and the last fault of those whose answers could not be read.
#[derive(Debug)]
pub struct Opinions<T> {
    opinions: Vec<T>,
    last_fault: Option<Fault>,
}

impl<T> Default for Opinions<T> {
    fn default() -> Self {
        Self {
            opinions: Vec::new(),
            last_fault: None,
        }
    }
}

impl<T> Opinions<T> {
    /// Records the opinion of one node, or why it has none.
    pub fn record(&mut self, opinion: Result<T, Fault>) {
        match opinion {
            Ok(opinion) => self.opinions.push(opinion),
            Err(fault) => self.last_fault = Some(fault),
        }
    }

    /// All opinions, in the order of the nodes; may be empty when no fault was recorded either.
    ///
    /// # Errors
    /// There is no opinion, and a node had a fault: the last one.
    pub fn into_result(self) -> Result<Vec<T>, Fault> {
        match self.last_fault {
            Some(fault) if self.opinions.is_empty() => Err(fault),
            Some(_) | None => Ok(self.opinions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_counts_only_without_any_opinion() {
        let mut opinions = Opinions::default();
        assert_eq!(Opinions::<u8>::default().into_result(), Ok(Vec::new()));
        opinions.record(Err(Fault::unavailable("first")));
        opinions.record(Ok(1));
        opinions.record(Err(Fault::unavailable("last")));
        assert_eq!(opinions.into_result(), Ok(vec![1]));
        let mut faults = Opinions::<u8>::default();
        faults.record(Err(Fault::unavailable("first")));
        faults.record(Err(Fault::unavailable("last")));
        assert_eq!(faults.into_result(), Err(Fault::unavailable("last")));
    }
}
