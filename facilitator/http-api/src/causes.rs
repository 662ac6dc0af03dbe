//! Why a response is 503, as a label for metrics: few words, whatever the message to the caller says.
//!
//! Assumes that messages are those of this facilitator. One that is not known here counts as `other`.

/// Every cause.
pub(crate) const ALL: [&str; 8] = [
    "budget",
    "draining",
    "journal",
    "not_ready",
    "other",
    "overloaded",
    "paused",
    "timeout",
];

/// What a message says, and its cause. The first that fits counts.
const SIGNS: [(&str, &str); 13] = [
    ("shutting down", "draining"),
    ("is stopping", "draining"),
    ("paused", "paused"),
    ("budget", "budget"),
    ("journal", "journal"),
    ("recorded within the time", "journal"),
    ("within the time", "timeout"),
    ("too many", "overloaded"),
    ("busy", "overloaded"),
    ("not ready", "not_ready"),
    ("no signer", "not_ready"),
    ("node", "not_ready"),
    ("chain", "not_ready"),
];

/// The cause of a 503 with this message.
pub(crate) fn of(message: &str) -> &'static str {
    let sign = SIGNS.iter().find(|(sign, _)| message.contains(sign));
    sign.map_or("other", |(_, cause)| cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_one_of_the_list_and_messages_have_theirs() {
        assert!(SIGNS.iter().all(|(_, cause)| ALL.contains(cause)));
        for (message, cause) in [
            ("shutting down; this request was not processed", "draining"),
            ("this network's signer is stopping", "draining"),
            ("this network is not ready; try again", "not_ready"),
            ("no signer of this network is ready", "not_ready"),
            ("the journal can't be written", "journal"),
            ("too many settlements wait for this network", "overloaded"),
            ("nothing was started within the time; try again", "timeout"),
            ("this network's budget for today is used up", "budget"),
            ("<script>", "other"),
        ] {
            assert_eq!(of(message), cause, "{message}");
        }
    }
}
