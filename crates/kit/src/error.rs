//! Failures as callers see them: a stable reason, one gRPC code per reason, google.rpc details.
//!
//! A service's own errors turn into an [`ApiError`] in its `error.rs`; an [`ApiError`] turns into a `tonic::Status` at
//! the edge, which is also where a failure of ours is logged, once.

use std::{error::Error as StdError, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tourmesh::common::v1::ErrorReason;

/// The domain of every reason in google.rpc.ErrorInfo.
pub const DOMAIN: &str = "tourmesh";

/// What a handler or a use case returns.
pub type ApiResult<T> = Result<T, ApiError>;

/// A failure with a stable reason. Large parts are boxed so that results stay small.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", name(*.reason))]
pub struct ApiError {
    reason: ErrorReason,
    message: String,
    extra: Option<Box<Extra>>,
}

#[derive(Debug, Default)]
struct Extra {
    violations: Vec<(String, String)>,
    metadata: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The reason as it is sent: without the enum's prefix.
pub fn name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

/// The gRPC code of a reason, as errors.proto documents it.
pub fn code(reason: ErrorReason) -> Code {
    use ErrorReason as R;
    match reason {
        R::FieldInvalid
        | R::MalformedRequest
        | R::PageTokenInvalid
        | R::FieldMaskInvalid
        | R::RefundTooLarge
        | R::CurrencyMismatch
        | R::CardNumberRefused => Code::InvalidArgument,
        R::TokenMissing
        | R::TokenInvalid
        | R::TokenExpired
        | R::CredentialsWrong
        | R::SessionEnded
        | R::SignatureInvalid => Code::Unauthenticated,
        R::RoleMissing => Code::PermissionDenied,
        R::EmailTaken | R::RequestIdReused | R::AlreadyWaiting | R::PromoCodeTaken => Code::AlreadyExists,
        R::MessageTooLarge
        | R::TooManyAttempts
        | R::DepartureSoldOut
        | R::TooManyHolds
        | R::PromoCodeUsedUp
        | R::Overloaded => Code::ResourceExhausted,
        R::TourNotFound
        | R::OptionNotFound
        | R::DepartureNotFound
        | R::SupplierNotFound
        | R::ScheduleNotFound
        | R::BookingNotFound
        | R::PaymentNotFound
        | R::RefundNotFound
        | R::UserNotFound
        | R::DeliveryNotFound
        | R::VoucherNotFound
        | R::WaitingNotFound
        | R::WebhookNotFound
        | R::TaxRuleNotFound
        | R::PoolNotFound
        | R::PromoCodeUnknown
        | R::ProviderUnknown => Code::NotFound,
        R::TourNotPublished
        | R::TourIncomplete
        | R::DepartureClosed
        | R::DepartureCancelled
        | R::DepartureInPast
        | R::UnitNotSold
        | R::PartySize
        | R::BookingState
        | R::HoldExpired
        | R::VoucherRedeemed
        | R::HoldLimit
        | R::RescheduleDearer
        | R::SeatsLeft
        | R::PromoCodeEnded
        | R::PromoCodeNotApplicable
        | R::PaymentState
        | R::RefundState
        | R::PaymentDeclined => Code::FailedPrecondition,
        R::ChangedMeanwhile => Code::Aborted,
        R::DeadlineExceeded => Code::DeadlineExceeded,
        R::DependencyUnavailable => Code::Unavailable,
        R::MethodUnknown => Code::Unimplemented,
        R::Internal | R::Unspecified => Code::Internal,
    }
}

impl ApiError {
    /// A failure with a message that tells the caller what to do.
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), extra: None }
    }

    /// One field breaks its rule.
    pub fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::fields([(field.into(), problem.into())])
    }

    /// Several fields break their rules.
    pub fn fields(violations: impl IntoIterator<Item = (String, String)>) -> Self {
        let violations: Vec<_> = violations.into_iter().collect();
        let message = match violations.first() {
            Some((field, problem)) if violations.len() == 1 => format!("{field} {problem}"),
            Some((field, problem)) => format!("{field} {problem}; and {} more", violations.len() - 1),
            None => "the request is not valid".to_owned(),
        };
        let mut error = Self::new(ErrorReason::FieldInvalid, message);
        error.extra().violations = violations;
        error
    }

    /// A defect of ours. The source is logged, never sent.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorReason::Internal, "this is a defect of ours; report it with the trace id").caused_by(source)
    }

    /// Something that we need does not answer. The source is logged, never sent.
    pub fn unavailable(what: &str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(
            ErrorReason::DependencyUnavailable,
            format!("{what} does not answer; repeat with the same request_id"),
        )
        .retry_after(Duration::from_millis(500))
        .caused_by(source)
    }

    /// More work than is taken at once.
    pub fn overloaded(retry_after: Duration) -> Self {
        Self::new(ErrorReason::Overloaded, "more work than this server takes at once; wait as RetryInfo says")
            .retry_after(retry_after)
    }

    /// Something for machines, such as `seats_left`.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.extra().metadata.push((key, value.to_string()));
        self
    }

    /// Names a field in BadRequest, beside whatever the reason is.
    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, problem: impl Into<String>) -> Self {
        self.extra().violations.push((field.into(), problem.into()));
        self
    }

    /// When trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.extra().retry_after = Some(wait);
        self
    }

    /// What led to it; for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.extra().source = Some(source.into());
        self
    }

    /// Why.
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// What the caller reads.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The metadata value of a key, such as `seats_left`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.extra.as_ref()?.metadata.iter().find(|(k, _)| *k == key).map(|(_, v)| v.as_str())
    }

    /// Postgres refused two transactions that met (40001, 40P01): the same work may be tried again as it is.
    pub fn is_transaction_conflict(&self) -> bool {
        let Some(source) = self.extra.as_ref().and_then(|e| e.source.as_ref()) else { return false };
        matches!(source.downcast_ref::<sqlx::Error>(), Some(sqlx::Error::Database(e))
            if matches!(e.code().as_deref(), Some("40001" | "40P01")))
    }

    /// Postgres waited for a lock as long as it was told to (55P03).
    pub fn is_lock_timeout(&self) -> bool {
        let Some(source) = self.extra.as_ref().and_then(|e| e.source.as_ref()) else { return false };
        matches!(source.downcast_ref::<sqlx::Error>(), Some(sqlx::Error::Database(e)) if e.code().as_deref() == Some("55P03"))
    }

    /// Postgres refused a row because of this constraint or unique index.
    pub fn breaks_constraint(&self, name: &str) -> bool {
        let Some(source) = self.extra.as_ref().and_then(|e| e.source.as_ref()) else { return false };
        matches!(source.downcast_ref::<sqlx::Error>(), Some(sqlx::Error::Database(e)) if e.constraint() == Some(name))
    }

    /// A reason, message and metadata without the source: what several callers of one batch can each be told.
    #[must_use]
    pub fn told_again(&self) -> Self {
        let mut copy = Self::new(self.reason, self.message.clone());
        if let Some(extra) = &self.extra {
            copy.extra = Some(Box::new(Extra {
                violations: extra.violations.clone(),
                metadata: extra.metadata.clone(),
                retry_after: extra.retry_after,
                source: None,
            }));
        }
        copy
    }

    /// Reads what another service answered, so that its reason can be passed on or acted upon.
    pub fn of_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .filter(|info| info.domain == DOMAIN)
            .and_then(|info| ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason)));
        let reason = reason.unwrap_or(match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => ErrorReason::DeadlineExceeded,
            Code::ResourceExhausted => ErrorReason::Overloaded,
            Code::Unavailable | Code::Unknown => ErrorReason::DependencyUnavailable,
            _ => ErrorReason::Internal,
        });
        let mut error = Self::new(reason, status.message());
        if let Some(wait) = details.retry_info().and_then(|r| r.retry_delay) {
            error = error.retry_after(wait);
        }
        if let Some(bad) = details.bad_request() {
            for v in &bad.field_violations {
                error = error.violation(v.field.clone(), v.description.clone());
            }
        }
        if matches!(reason, ErrorReason::Internal | ErrorReason::DependencyUnavailable) {
            error = error.caused_by(status.clone());
        }
        error
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// The source's chain in one line, for the log.
    pub(crate) fn source_text(&self) -> String {
        let mut text = String::new();
        let mut next: Option<&dyn StdError> = match self.extra.as_ref().and_then(|e| e.source.as_ref()) {
            Some(source) => Some(&**source),
            None => None,
        };
        while let Some(error) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl From<ApiError> for Status {
    /// The only way to the wire, and so the place where a failure of ours is logged.
    fn from(error: ApiError) -> Self {
        match code(error.reason) {
            Code::Internal => {
                tracing::error!(reason = name(error.reason), source = error.source_text(), "{}", error.message);
            }
            Code::Unavailable => {
                tracing::warn!(reason = name(error.reason), source = error.source_text(), "{}", error.message);
            }
            _ => {}
        }
        let mut details = ErrorDetails::new();
        let mut metadata = std::collections::HashMap::new();
        if let Some(extra) = error.extra {
            metadata.extend(extra.metadata.into_iter().map(|(k, v)| (k.to_owned(), v)));
            for (field, problem) in extra.violations {
                details.add_bad_request_violation(field, problem);
            }
            if let Some(wait) = extra.retry_after {
                details.set_retry_info(Some(wait));
            }
        }
        details.set_error_info(name(error.reason), DOMAIN, metadata);
        Status::with_error_details(code(error.reason), error.message, details)
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::PoolTimedOut => Self::overloaded(Duration::from_millis(200)).caused_by(error),
            E::Io(_) | E::Tls(_) | E::PoolClosed | E::WorkerCrashed | E::Protocol(_) => {
                Self::unavailable("the database", error)
            }
            E::Database(e) => match e.code().as_deref() {
                // Classes 08 and 57P0x: the connection or the server went away; 53: it has no more connections to give.
                Some(c) if c.starts_with("08") || c.starts_with("57P") || c.starts_with("53") => {
                    Self::unavailable("the database", error)
                }
                // A server that was demoted, is being migrated or changes its rights (0A000: a cached plan met a new column)
                // will answer again: nobody's work is to be given up for it.
                Some("25006" | "0A000" | "42501" | "42703" | "42P01" | "3D000") => {
                    Self::unavailable("the database", error)
                }
                Some(c) if c.starts_with("28") => Self::unavailable("the database", error),
                // 57014 is our own statement_timeout, 55P03 our lock_timeout.
                Some("57014" | "55P03" | "40001" | "40P01") => Self::unavailable("the database", error),
                _ => Self::internal(error),
            },
            _ => Self::internal(error),
        }
    }
}

impl From<sea_orm::DbErr> for ApiError {
    fn from(error: sea_orm::DbErr) -> Self {
        use sea_orm::{DbErr, RuntimeErr};
        match error {
            DbErr::Conn(RuntimeErr::SqlxError(e))
            | DbErr::Exec(RuntimeErr::SqlxError(e))
            | DbErr::Query(RuntimeErr::SqlxError(e)) => match std::sync::Arc::try_unwrap(e) {
                Ok(e) => e.into(),
                Err(shared) => Self::internal(shared.to_string()),
            },
            DbErr::ConnectionAcquire(e) => Self::unavailable("the database", e.to_string()),
            other => Self::internal(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_reason_there_and_back() {
        let status = Status::from(
            ApiError::new(ErrorReason::DepartureSoldOut, "not so many seats are left").with("seats_left", 3),
        );
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_details_error_info().map(|i| i.metadata["seats_left"].clone()), Some("3".to_owned()));
        assert_eq!(ApiError::of_status(&status).reason(), ErrorReason::DepartureSoldOut);
    }

    #[test]
    fn every_reason_has_the_code_that_errors_proto_documents() {
        let set = prost_reflect::DescriptorPool::decode(tourmesh::DESCRIPTORS).unwrap();
        let reasons = set.get_enum_by_name("tourmesh.common.v1.ErrorReason").unwrap();
        let file = reasons.parent_file().file_descriptor_proto().clone();
        for value in reasons.values().filter(|v| v.number() != 0) {
            let reason = ErrorReason::try_from(value.number()).unwrap();
            let path = value.path().to_vec();
            let comment = file
                .source_code_info
                .as_ref()
                .and_then(|i| i.location.iter().find(|l| l.path == path))
                .and_then(|l| l.leading_comments.clone())
                .unwrap_or_default();
            let documented = comment.trim().split(':').next().unwrap_or_default().replace('_', "").to_lowercase();
            assert_eq!(documented, format!("{:?}", code(reason)).to_lowercase(), "{}", value.name());
        }
    }
}
