//! What a bank's page would do: the customer's answer to a challenge.

use tonic::{Request, Response, Status};
use tourmesh::payment::v1::{
    CompleteChallengeRequest, CompleteChallengeResponse, sandbox_service_server::SandboxService,
};
use tourmesh_kit::{ApiError, ApiResult};

use super::{
    Sandbox, intents,
    webhooks::{self, Notice},
};
use crate::error::PaymentError;

#[tonic::async_trait]
impl SandboxService for Sandbox {
    async fn complete_challenge(
        &self,
        request: Request<CompleteChallengeRequest>,
    ) -> Result<Response<CompleteChallengeResponse>, Status> {
        let CompleteChallengeRequest { challenge, approve } = request.into_inner();
        self.complete(challenge, approve).await?;
        Ok(Response::new(CompleteChallengeResponse {}))
    }
}

impl Sandbox {
    /// The first answer counts; a repeat changes nothing.
    async fn complete(&self, challenge: String, approve: bool) -> ApiResult<()> {
        let wanted = challenge.clone();
        let answered = self.db.write(move |tx| {
            let challenge = wanted.clone();
            Box::pin(async move {
                let Some(intent) = intents::answer(tx, &challenge, approve).await? else { return Ok(false) };
                // The caller learns of it by event alone.
                webhooks::enqueue(tx, &[Notice::of_intent(&intent)], 0).await?;
                Ok(true)
            })
        });
        let answered = answered.await?;
        self.work.notify_one();
        if answered || intents::has_challenge(&self.db, &challenge).await? {
            return Ok(());
        }
        Err(ApiError::from(PaymentError::NotFound))
    }
}
