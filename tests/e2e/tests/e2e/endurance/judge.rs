//! Compares the answers with the chain.

use std::collections::BTreeMap;
use std::fmt;

use devnet::{AuthCapture, USDC};
use e2e::World;
use e2e::sign::keccak;

use super::work::{Answer, Entry, Ledger, Operation};
use crate::auth_capture::property::books::{Reported, reported};

/// What a run came to.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    counts: BTreeMap<&'static str, u64>,
    /// What must not be, with all answers.
    faults: BTreeMap<&'static str, Vec<String>>,
}

/// Made and reported to no caller, although no connection broke.
const LOST: &str = "lost";
const TWICE: &str = "made twice";
const RELEASED_TWICE: &str = "released twice";
const FALSE_SUCCESS: &str = "success without a transfer";
const FALSE_FAILURE: &str = "failure with a transfer";
const PENDING: &str = "pending";
const FAULTS: [&str; 6] = [LOST, TWICE, RELEASED_TWICE, FALSE_SUCCESS, FALSE_FAILURE, PENDING];

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  operations")?;
        for (what, count) in &self.counts {
            writeln!(f, "    {what:<28} {count:>6}")?;
        }
        writeln!(f, "  faults")?;
        for what in FAULTS {
            let count = self.faults.get(what).map_or(0, Vec::len);
            writeln!(f, "    {what:<28} {count:>6}")?;
        }
        Ok(())
    }
}

impl Verdict {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_insert(0) += 1;
    }

    fn fault(&mut self, what: &'static str, detail: String) {
        self.faults.entry(what).or_default().push(detail);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn assert_clean(&self) {
        for (what, details) in &self.faults {
            for detail in details {
                println!("{what}: {detail}");
            }
        }
        assert!(self.is_clean(), "\n{self}");
        let done = self.counts.get("success").copied().unwrap_or(0);
        assert!(
            done >= 10,
            "only {done} operations were answered as success: nothing was tried"
        );
    }
}

pub(super) fn judge(world: &World, ledger: &Ledger, quiet: bool) -> Verdict {
    let mut verdict = Verdict::default();
    let used = used_authorizations(world);
    let mut payments: BTreeMap<String, (AuthCapture, Vec<&Entry>)> = BTreeMap::new();
    for entry in &ledger.entries {
        match &entry.operation {
            Operation::Exact { payer, nonce } => {
                let times = used.get(&(payer.to_lowercase(), nonce.to_lowercase()));
                judge_entry(&mut verdict, entry, times.copied().unwrap_or(0));
            }
            Operation::Escrow { deployment, hash, .. } => {
                let payment = payments.entry(hash.clone());
                payment.or_insert_with(|| (*deployment, Vec::new())).1.push(entry);
            }
        }
    }
    for (hash, (deployment, entries)) in payments {
        judge_payment(&mut verdict, &entries, &reported(world, &deployment, &hash));
    }
    if !quiet {
        let open = world.metric("switchyard_open_slots", "");
        if open > 0 {
            verdict.fault(PENDING, format!("{open} slots are open"));
        }
    }
    verdict
}

/// How often each payer's nonces were used for a transfer.
fn used_authorizations(world: &World) -> BTreeMap<(String, String), usize> {
    let topic = format!("0x{}", hex::encode(keccak(b"AuthorizationUsed(address,bytes32)")));
    let logs = world.chain.logs(USDC, Some(&topic)).expect("the node answers");
    let mut used = BTreeMap::new();
    for log in logs {
        let text = |at: usize| log["topics"][at].as_str().unwrap_or_default().to_lowercase();
        let payer = format!("0x{}", &text(1)[26..]);
        *used.entry((payer, text(2))).or_insert(0) += 1;
    }
    used
}

fn judge_payment(verdict: &mut Verdict, entries: &[&Entry], reports: &[Reported]) {
    let mut explained = 0;
    for entry in entries {
        let Operation::Escrow { event, amount, .. } = &entry.operation else {
            continue;
        };
        let is_it =
            |report: &&Reported| report.kind == *event && amount.is_none_or(|amount| amount == report.amount);
        let times = reports.iter().filter(is_it).count();
        explained += times;
        judge_entry(verdict, entry, times);
    }
    if explained != reports.len() {
        let known: Vec<String> = entries.iter().map(|entry| entry.operation.to_string()).collect();
        verdict.fault(TWICE, format!("{reports:?} of {known:?}"));
    }
}

fn judge_entry(verdict: &mut Verdict, entry: &Entry, times: usize) {
    let count = |wanted: fn(&Answer) -> bool| entry.answers.iter().filter(|answer| wanted(answer)).count();
    let successes = count(|answer| matches!(answer, Answer::Success(_)));
    let duplicates = count(|answer| matches!(answer, Answer::Duplicate(_)));
    let lost = count(|answer| matches!(answer, Answer::ConnectionLost));
    let detail = || {
        format!(
            "{times} on chain: {} {:?}",
            entry.operation,
            summary(&entry.answers)
        )
    };
    verdict.count(match entry.answers.last() {
        Some(Answer::Success(_)) => "success",
        Some(Answer::Duplicate(_)) => "duplicate after a broken line",
        Some(Answer::Failed(..)) => "failed",
        Some(Answer::Pending(_) | Answer::Unavailable | Answer::ConnectionLost) | None => "undecided",
    });
    if times > 1 {
        verdict.fault(TWICE, detail());
    }
    if successes > 1 {
        verdict.fault(RELEASED_TWICE, detail());
    }
    if times == 0 && successes + duplicates > 0 {
        verdict.fault(FALSE_SUCCESS, detail());
    }
    if times > 0 && matches!(entry.answers.last(), Some(Answer::Failed(..))) {
        verdict.fault(FALSE_FAILURE, detail());
    }
    if times > 0 && successes == 0 && lost == 0 && entry.is_decided() {
        verdict.fault(LOST, detail());
    }
    if !entry.is_decided() {
        verdict.fault(PENDING, detail());
    }
}

/// The answers, each run of equal ones once.
fn summary(answers: &[Answer]) -> Vec<Answer> {
    let mut summary: Vec<Answer> = answers.to_vec();
    summary.dedup();
    summary
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn judged(answers: &[Answer], times: usize) -> Vec<&'static str> {
        let operation = Operation::Exact {
            payer: String::new(),
            nonce: String::new(),
        };
        let entry = Entry::of(operation, Value::Null, answers.to_vec());
        let mut verdict = Verdict::default();
        judge_entry(&mut verdict, &entry, times);
        verdict.faults.into_keys().collect()
    }

    #[test]
    fn the_judge_finds_every_fault_and_no_other() {
        let paid = || Answer::Success("0x01".to_owned());
        let failed = || Answer::Failed("reason".to_owned(), String::new());
        let duplicate = || Answer::Duplicate("0x01".to_owned());
        let none: [&str; 0] = [];
        assert_eq!(judged(&[Answer::Unavailable, paid()], 1), none);
        assert_eq!(judged(&[failed()], 0), none);
        assert_eq!(judged(&[Answer::ConnectionLost, duplicate()], 1), none);
        assert_eq!(judged(&[failed(), paid()], 1), none);
        assert_eq!(judged(&[paid()], 2), [TWICE]);
        assert_eq!(
            judged(&[paid(), Answer::ConnectionLost, paid()], 1),
            [RELEASED_TWICE]
        );
        assert_eq!(judged(&[paid()], 0), [FALSE_SUCCESS]);
        assert_eq!(judged(&[duplicate()], 1), [LOST]);
        assert_eq!(judged(&[failed()], 1), [FALSE_FAILURE, LOST]);
        assert_eq!(judged(&[Answer::Pending("0x01".to_owned())], 1), [PENDING]);
    }
}
