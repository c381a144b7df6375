//! What can go wrong on the command line's side of a conversation with a cluster.

use protocol::ErrorCode;
use std::io;

/// Why a command failed. Its text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// No broker could be reached.
    #[error("cannot connect to {address}: {source}; is a broker listening there (--bootstrap)?")]
    Connect {
        /// The address that was tried.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// A connection ended or fell silent in the middle of a request.
    #[error("{address}: {api} failed: {source}")]
    Io {
        /// The broker.
        address: String,
        /// The API that was asked.
        api: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// The broker has no version of an API that this command line speaks.
    #[error("{address} does not offer {api} in a version between {min} and {max}; this command needs it")]
    Version {
        /// The broker.
        address: String,
        /// The API.
        api: &'static str,
        /// Lowest version spoken here.
        min: i16,
        /// Highest version spoken here.
        max: i16,
    },
    /// Bytes that are no answer to what was asked.
    #[error("{address}: the answer to {api} is malformed: {reason}")]
    Malformed {
        /// The broker.
        address: String,
        /// The API.
        api: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The broker refused.
    #[error("{what}: {}", refusal(*code, message.as_deref()))]
    Refused {
        /// What was asked for.
        what: String,
        /// Kafka's error code.
        code: i16,
        /// The broker's own words.
        message: Option<String>,
    },
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
}

pub(crate) type Result<T> = std::result::Result<T, AdminError>;

impl AdminError {
    /// A refusal, unless the code is 0.
    pub(crate) fn check(what: impl FnOnce() -> String, code: i16, message: Option<&str>) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        Err(AdminError::Refused {
            what: what(),
            code,
            message: message.map(str::to_owned),
        })
    }

    /// Whether asking again may help: a coordinator that loads, moves or is being made.
    pub(crate) fn is_about_coordinator(&self) -> bool {
        matches!(self, AdminError::Refused { code: 14..=16, .. })
    }
}

/// An error code for a person: its name, and the broker's words or else Kafka's.
pub(crate) fn refusal(code: i16, message: Option<&str>) -> String {
    match ErrorCode::from_code(code) {
        Some(known) => format!(
            "{} ({known:?}, {code})",
            message
                .filter(|text| !text.is_empty())
                .unwrap_or(known.message())
                .trim_end_matches('.')
        ),
        None => format!("error {code} {}", message.unwrap_or("that this version does not know")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_broker_said() {
        assert_eq!(
            refusal(36, Some("Topic 'a' already exists.")),
            "Topic 'a' already exists (TopicAlreadyExists, 36)"
        );
        assert_eq!(
            refusal(36, None),
            format!(
                "{} (TopicAlreadyExists, 36)",
                ErrorCode::TopicAlreadyExists.message().trim_end_matches('.')
            )
        );
        assert_eq!(refusal(30_000, None), "error 30000 that this version does not know");
        assert!(AdminError::check(|| unreachable!("not asked for"), 0, None).is_ok());
    }
}
