//! Thin handlers: validate, call, convert.

use tonic::{Request, Response, Status};
use tourmesh::{
    google::r#type::Money as WireMoney,
    payment::v1::{self as wire, payment_service_server::PaymentService},
};
use tourmesh_kit::{
    ApiError, ApiResult, ErrorReason,
    auth::{Principal, Role},
    card_number,
    idempotency::RequestKey,
    money::Money,
    page,
};

use crate::{
    convert,
    desk::Desk,
    domain::{
        BookingId, CustomerId, PaymentId, RefundId, SupplierId, ledger,
        payment::{Payment, Refund, State},
    },
    error::PaymentError,
    refunds::Wish,
    store::{self, payments::New},
};

/// The payment service.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) desk: Desk,
}

/// An amount of a request: there, above zero, and in a currency that it fits.
fn positive(money: Option<&WireMoney>) -> ApiResult<Money> {
    let money = money.ok_or_else(|| ApiError::field("amount", "must be set"))?;
    let money = Money::of_wire(money).map_err(|e| ApiError::field("amount", e.to_string()))?;
    if money.is_positive() { Ok(money) } else { Err(ApiError::field("amount", "must be more than zero")) }
}

/// The part of an amount that is taxes; none when it is not told.
fn taxes_in(amount: Money, tax: Option<&WireMoney>) -> ApiResult<Money> {
    let Some(tax) = tax else { return Ok(Money::zero(amount.currency())) };
    let tax = Money::of_wire(tax).map_err(|e| ApiError::field("tax", e.to_string()))?;
    if tax.currency() != amount.currency() {
        return Err(ApiError::new(ErrorReason::CurrencyMismatch, "the tax is in another currency than the amount")
            .violation("tax", "must be in the currency of the amount"));
    }
    if tax.amount().is_sign_negative() && !tax.is_zero() || tax.amount() > amount.amount() {
        return Err(ApiError::field("tax", "must lie between zero and the amount"));
    }
    Ok(tax)
}

/// Refuses card numbers before anything is stored or logged.
fn without_card_numbers(request_id: &str, fields: &[(&'static str, &str)]) -> ApiResult<()> {
    if card_number::is_whole(request_id) {
        return Err(PaymentError::CardNumber("request_id").into());
    }
    match fields.iter().find(|(_, text)| card_number::is_held_in(text)) {
        Some((field, _)) => Err(PaymentError::CardNumber(field).into()),
        None => Ok(()),
    }
}

/// The caller, and the request's key, which is this caller's own.
fn scope<M: prost::Message>(
    principal: &Principal,
    method: &str,
    request_id: &str,
    request: &M,
) -> (String, RequestKey) {
    let caller = principal.scope();
    let key = RequestKey::of(request_id, &format!("{method}:{caller}"), request);
    (caller, key)
}

impl Api {
    async fn create(&self, principal: &Principal, request: wire::CreatePaymentRequest) -> ApiResult<Payment> {
        without_card_numbers(
            &request.request_id,
            &[
                ("payment_method", &request.payment_method),
                ("return_url", &request.return_url),
                ("provider", &request.provider),
            ],
        )?;
        let provider = self.desk.providers.get(&request.provider)?;
        provider.check_method(&request.payment_method).map_err(|problem| ApiError::field("payment_method", problem))?;
        if !(request.return_url.is_empty() || is_web_address(&request.return_url)) {
            return Err(ApiError::field("return_url", "must be an http:// or https:// address"));
        }
        let amount = positive(request.amount.as_ref())?;
        let tax = taxes_in(amount, request.tax.as_ref())?;
        let (caller, key) = scope(principal, "CreatePayment", &request.request_id, &request);
        let payment = Payment {
            id: PaymentId::new(),
            booking: BookingId::of_field("booking_id", &request.booking_id)?,
            purpose: request.purpose,
            customer: CustomerId::of_field("customer_id", &request.customer_id)?,
            supplier: SupplierId::of_field("supplier_id", &request.supplier_id)?,
            state: State::Pending,
            amount,
            tax,
            captured: Money::zero(amount.currency()),
            refunded: Money::zero(amount.currency()),
            returned: Money::zero(amount.currency()),
            commission: Money::zero(amount.currency()),
            provider: provider.name().to_owned(),
            reference: None,
            method: request.payment_method,
            return_url: request.return_url,
            manual_capture: request.manual_capture,
            capture_wanted: false,
            next_action_url: None,
            decline_code: None,
            created_at: store::now(),
            captured_at: None,
            version: 1,
        };
        self.desk.create(New { payment, caller, request: key }).await
    }

    async fn refund(&self, principal: &Principal, request: wire::RefundPaymentRequest) -> ApiResult<(Refund, Payment)> {
        without_card_numbers(&request.request_id, &[("reason", &request.reason)])?;
        let amount = positive(request.amount.as_ref())?;
        let payment = PaymentId::of_field("payment_id", &request.payment_id)?;
        let (caller, key) = scope(principal, "RefundPayment", &request.request_id, &request);
        let refund = Refund { id: RefundId::new(), payment, amount, settled: false, attempt: 0, refused: false };
        self.desk.refund(Wish { refund, reason: request.reason, caller, request: key }).await
    }

    async fn get(&self, principal: &Principal, request: &wire::GetPaymentRequest) -> ApiResult<Payment> {
        let id = PaymentId::of_field("payment_id", &request.payment_id)?;
        let payment = store::payments::find(&self.desk.db, id).await?.ok_or(PaymentError::NotFound)?;
        let sees_all = principal.is_service() || principal.has(Role::Staff);
        if sees_all || principal.user_id() == Some(payment.customer.to_string().as_str()) {
            return Ok(payment);
        }
        Err(PaymentError::NotFound.into())
    }

    async fn entries(&self, request: &wire::ListLedgerEntriesRequest) -> ApiResult<wire::ListLedgerEntriesResponse> {
        let payment = match request.payment_id.as_str() {
            "" => None,
            id => Some(PaymentId::of_field("payment_id", id)?),
        };
        let filters = format!("ListLedgerEntries:{}", request.payment_id);
        let before: Option<i64> = page::read(&request.page_token, filters.as_bytes())?;
        let size = page::size(request.page_size, 50, 200);
        let mut rows = store::ledger::list(&self.desk.db, payment, before, u64::from(size) + 1).await?;
        let more = rows.len() > usize::try_from(size).unwrap_or(usize::MAX);
        if more {
            rows.pop();
        }
        let next_page_token = match rows.last() {
            Some(last) if more => page::token(&last.entry, filters.as_bytes()),
            _ => String::new(),
        };
        let entries = rows.into_iter().map(convert::entry).collect::<ApiResult<_>>()?;
        Ok(wire::ListLedgerEntriesResponse { entries, next_page_token })
    }

    async fn balances(
        &self,
        principal: &Principal,
        request: &wire::ListBalancesRequest,
    ) -> ApiResult<wire::ListBalancesResponse> {
        let wanted = match request.supplier_id.as_str() {
            "" => None,
            id => Some(SupplierId::of_field("supplier_id", id)?),
        };
        let mut accounts = Vec::new();
        if principal.has(Role::Staff) {
            accounts.extend(wanted.into_iter().flat_map(ledger::of_supplier));
            if !request.customer_id.is_empty() {
                accounts.extend(ledger::of_customer(CustomerId::of_field("customer_id", &request.customer_id)?));
            }
        } else {
            // What belongs to others does not exist.
            let own =
                principal.supplier_id().and_then(|id| id.parse().ok()).filter(|own| wanted.is_none_or(|w| w == *own));
            let own: SupplierId =
                own.ok_or_else(|| ApiError::new(ErrorReason::SupplierNotFound, "there is no such supplier"))?;
            if !request.customer_id.is_empty() {
                return Err(ApiError::field("customer_id", "is for staff"));
            }
            accounts.extend(ledger::of_supplier(own));
        }
        let balances = if accounts.is_empty() {
            store::ledger::all_balances(&self.desk.db).await?
        } else {
            store::ledger::balances(&self.desk.db, &accounts).await?
        };
        Ok(wire::ListBalancesResponse {
            balances: balances.into_iter().map(convert::balance).collect::<ApiResult<_>>()?,
        })
    }
}

fn is_web_address(text: &str) -> bool {
    let scheme = text.parse::<http::Uri>().ok().and_then(|uri| uri.scheme_str().map(str::to_owned));
    matches!(scheme.as_deref(), Some("http" | "https"))
}

#[tonic::async_trait]
impl PaymentService for Api {
    async fn create_payment(
        &self,
        request: Request<wire::CreatePaymentRequest>,
    ) -> Result<Response<wire::CreatePaymentResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let payment = self.create(Principal::of(&extensions), request).await?;
        Ok(Response::new(wire::CreatePaymentResponse { payment: Some(convert::payment(&payment)) }))
    }

    async fn capture_payment(
        &self,
        request: Request<wire::CapturePaymentRequest>,
    ) -> Result<Response<wire::CapturePaymentResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        without_card_numbers(&request.request_id, &[])?;
        let id = PaymentId::of_field("payment_id", &request.payment_id)?;
        let (caller, key) = scope(Principal::of(&extensions), "CapturePayment", &request.request_id, &request);
        let payment = self.desk.capture(id, caller, key).await?;
        Ok(Response::new(wire::CapturePaymentResponse { payment: Some(convert::payment(&payment)) }))
    }

    async fn refund_payment(
        &self,
        request: Request<wire::RefundPaymentRequest>,
    ) -> Result<Response<wire::RefundPaymentResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let (refund, payment) = self.refund(Principal::of(&extensions), request).await?;
        Ok(Response::new(wire::RefundPaymentResponse {
            refund: Some(convert::refund(&refund)),
            payment: Some(convert::payment(&payment)),
        }))
    }

    async fn get_payment(
        &self,
        request: Request<wire::GetPaymentRequest>,
    ) -> Result<Response<wire::GetPaymentResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let payment = self.get(Principal::of(&extensions), &request).await?;
        Ok(Response::new(wire::GetPaymentResponse { payment: Some(convert::payment(&payment)) }))
    }

    async fn handle_provider_event(
        &self,
        request: Request<wire::HandleProviderEventRequest>,
    ) -> Result<Response<wire::HandleProviderEventResponse>, Status> {
        let request = request.into_inner();
        let applied = self.desk.take_event(&request.provider, &request.body, &request.signature).await?;
        Ok(Response::new(wire::HandleProviderEventResponse { applied }))
    }

    async fn get_payment_form(
        &self,
        request: Request<wire::GetPaymentFormRequest>,
    ) -> Result<Response<wire::GetPaymentFormResponse>, Status> {
        let provider = self.desk.providers.get(&request.get_ref().provider)?;
        let publishable_key = provider.publishable_key().to_owned();
        Ok(Response::new(wire::GetPaymentFormResponse { provider: provider.name().to_owned(), publishable_key }))
    }

    async fn get_next_step(
        &self,
        request: Request<wire::GetNextStepRequest>,
    ) -> Result<Response<wire::GetNextStepResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let payment = PaymentId::of_field("payment_id", &request.payment_id)?;
        Ok(Response::new(self.desk.next_step(Principal::of(&extensions), payment).await?))
    }

    async fn list_failed_refunds(
        &self,
        request: Request<wire::ListFailedRefundsRequest>,
    ) -> Result<Response<wire::ListFailedRefundsResponse>, Status> {
        Ok(Response::new(self.desk.failed_refunds(request.get_ref()).await?))
    }

    async fn list_disputes(
        &self,
        request: Request<wire::ListDisputesRequest>,
    ) -> Result<Response<wire::ListDisputesResponse>, Status> {
        Ok(Response::new(self.desk.disputes(request.get_ref()).await?))
    }

    async fn retry_refund(
        &self,
        request: Request<wire::RetryRefundRequest>,
    ) -> Result<Response<wire::RetryRefundResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        without_card_numbers(&request.request_id, &[])?;
        let id = RefundId::of_field("refund_id", &request.refund_id)?;
        let (caller, key) = scope(Principal::of(&extensions), "RetryRefund", &request.request_id, &request);
        let refund = self.desk.retry_refund(id, caller, key).await?;
        Ok(Response::new(wire::RetryRefundResponse { refund: Some(convert::refund(&refund)) }))
    }

    async fn list_ledger_entries(
        &self,
        request: Request<wire::ListLedgerEntriesRequest>,
    ) -> Result<Response<wire::ListLedgerEntriesResponse>, Status> {
        Ok(Response::new(self.entries(request.get_ref()).await?))
    }

    async fn list_balances(
        &self,
        request: Request<wire::ListBalancesRequest>,
    ) -> Result<Response<wire::ListBalancesResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        Ok(Response::new(self.balances(Principal::of(&extensions), &request).await?))
    }
}
