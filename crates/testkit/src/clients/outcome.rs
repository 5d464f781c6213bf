//! What a failed call says about a write. Written from the documentation of the API (`proto/fastness/v1/kv.proto`), not
//! with the code of the SDK: it would repeat a mistake of that code.

use std::error::Error;

use fastness_client::ClientError;
use fastness_load::Outcome;
use fastness_load::outcome::of_code;
use fastness_wire::v1;
use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt as _;

/// The domain of the server's reasons.
const DOMAIN: &str = "fastness";

/// Reasons of the API that are no error codes of RESP, after which nothing has happened.
const REFUSALS: [&str; 7] =
    ["CONFLICT", "MAX_CLIENTS", "NEEDS_CONNECTION", "NOT_SERVED", "NO_MEMORY", "TOO_MANY_FAILURES", "INVALID_REQUEST"];

/// Reasons after which a write may have happened, or has: in the last two cases its result is missing.
const DOUBTS: [&str; 3] = ["OUTCOME_UNKNOWN", "REPLY_TOO_LONG", "REPLY_DROPPED"];

/// The outcome that a reason means; `None`: it is not known.
#[must_use]
pub fn outcome_of_reason(reason: &str) -> Option<Outcome> {
    if REFUSALS.contains(&reason) {
        return Some(Outcome::Refused);
    }
    if DOUBTS.contains(&reason) {
        return Some(Outcome::Unknown);
    }
    of_code(reason.as_bytes())
}

/// The outcome of a write whose call has failed with this status.
#[must_use]
pub fn outcome_of_status(status: &Status) -> Outcome {
    // Nothing was sent.
    if causes(status).any(|cause| cause.is::<ConnectError>()) {
        return Outcome::Refused;
    }
    let details = status.get_error_details();
    match details.error_info().filter(|info| info.domain == DOMAIN) {
        Some(info) => with_reason(status.code(), &info.reason, details.retry_info().is_some()),
        None => without_reason(status.code()),
    }
}

/// The outcome of an operation in a message of several.
pub(super) fn outcome_of_error(error: &v1::Error) -> Outcome {
    with_reason(Code::from(error.code), &error.reason, error.retry_after_ms.is_some())
}

fn with_reason(code: Code, reason: &str, may_be_repeated: bool) -> Outcome {
    match code {
        // A defect of the server, or no promise that nothing has happened.
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Cancelled | Code::DeadlineExceeded => Outcome::Unknown,
        Code::Unavailable if !may_be_repeated => Outcome::Unknown,
        _ => outcome_of_reason(reason).unwrap_or(Outcome::Unknown),
    }
}

/// A status that no node made. Only what is decided before a request reaches its handler is a refusal.
fn without_reason(code: Code) -> Outcome {
    match code {
        Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |cause| (**cause).source())
}

/// The outcome of a write that the SDK reports as failed with this error, as the documentation of [`ClientError`] has
/// it.
#[must_use]
pub fn outcome_of_sdk(error: &ClientError) -> Outcome {
    match error {
        ClientError::Refused { reason, .. } if DOUBTS.contains(&&**reason) => Outcome::Unknown,
        ClientError::Refused { .. } | ClientError::Unavailable { .. } | ClientError::Invalid { .. } => Outcome::Refused,
        // Only reads end with it; a write that did would be a mistake of the SDK.
        ClientError::DeadlineExceeded { .. } => Outcome::Unknown,
        _ => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, domain: &str, reason: &str, again: bool) -> Status {
        let mut details = ErrorDetails::with_error_info(reason, domain, HashMap::new());
        if again {
            details.set_retry_info(Some(Duration::from_millis(100)));
        }
        Status::with_error_details(code, "text", details)
    }

    #[test]
    fn only_what_certainly_has_not_happened_is_refused() {
        for (code, reason, again, outcome) in [
            (Code::FailedPrecondition, "MOVED", false, Outcome::Refused),
            (Code::Unavailable, "CLUSTERDOWN", true, Outcome::Refused),
            (Code::Unavailable, "CLUSTERDOWN", false, Outcome::Unknown),
            (Code::Unknown, "OUTCOME_UNKNOWN", false, Outcome::Unknown),
            (Code::FailedPrecondition, "OUTCOME_UNKNOWN", false, Outcome::Unknown),
            (Code::ResourceExhausted, "OOM", false, Outcome::Refused),
            (Code::ResourceExhausted, "REPLY_DROPPED", false, Outcome::Unknown),
            (Code::Aborted, "CONFLICT", true, Outcome::Refused),
            (Code::Internal, "INVALID_REQUEST", false, Outcome::Unknown),
            (Code::InvalidArgument, "INVALID_REQUEST", false, Outcome::Refused),
            (Code::FailedPrecondition, "IDEMPOTENCYPAST", false, Outcome::Unknown),
            (Code::FailedPrecondition, "SOMETHING_NEW", false, Outcome::Unknown),
            (Code::DeadlineExceeded, "MOVED", false, Outcome::Unknown),
        ] {
            assert_eq!(outcome_of_status(&status(code, DOMAIN, reason, again)), outcome, "{code} {reason} {again}");
        }
        // A proxy's words are not the server's.
        assert_eq!(outcome_of_status(&status(Code::FailedPrecondition, "other", "MOVED", false)), Outcome::Unknown);
        for code in [Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded, Code::Unknown, Code::Internal] {
            assert_eq!(outcome_of_status(&Status::new(code, "broken pipe")), Outcome::Unknown, "{code}");
        }
    }

    #[test]
    fn what_the_sdk_reports_as_unknown_stays_unknown() {
        let refused = |reason: &str| ClientError::Refused {
            code: Code::FailedPrecondition,
            reason: reason.into(),
            message: String::new(),
            metadata: Default::default(),
        };
        let unknown = ClientError::OutcomeUnknown { message: String::new() };
        let late = ClientError::DeadlineExceeded { message: String::new() };
        let unavailable = ClientError::Unavailable { reason: "CLUSTERDOWN".into(), message: String::new() };
        for (error, outcome) in [
            (refused("WRONGTYPE"), Outcome::Refused),
            (refused("REPLY_TOO_LONG"), Outcome::Unknown),
            (unknown, Outcome::Unknown),
            (late, Outcome::Unknown),
            (unavailable, Outcome::Refused),
        ] {
            assert_eq!(outcome_of_sdk(&error), outcome, "{error}");
            assert!(!error.may_have_happened() || outcome == Outcome::Unknown, "{error}");
        }
    }
}
