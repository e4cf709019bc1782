//! What the customer's browser needs for a second step: asked from the provider each time, kept nowhere.

use tourmesh::payment::v1::GetNextStepResponse;
use tourmesh_kit::{ApiError, ApiResult, auth::Principal};

use crate::{
    desk::Desk,
    domain::{PaymentId, payment::State},
    error::PaymentError,
    provider::Charge,
    store,
};

impl Desk {
    /// The second step of one of the caller's own payments.
    pub(crate) async fn next_step(&self, caller: &Principal, id: PaymentId) -> ApiResult<GetNextStepResponse> {
        let payment = store::payments::find(&self.db, id).await?;
        let payment = payment.filter(|p| caller.user_id() == Some(p.customer.to_string().as_str()));
        let payment = payment.ok_or(PaymentError::NotFound)?;
        let waits_not = || PaymentError::State(payment.state, "it waits for no second step");
        if payment.state != State::RequiresAction {
            return Err(waits_not().into());
        }
        let provider = self.providers.get(&payment.provider)?;
        let charge = Charge::from(&payment);
        let action = self.providers.in_time(provider.action(&charge)).await;
        let action = action.map_err(|e| ApiError::unavailable("the payment provider", e))?.ok_or_else(waits_not)?;
        Ok(GetNextStepResponse {
            url: action.url,
            client_secret: action.client_secret,
            provider: provider.name().to_owned(),
            publishable_key: provider.publishable_key().to_owned(),
        })
    }
}
