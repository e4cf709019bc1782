//! The list of disputes that staff sees. What is known of them comes in by [`crate::inbound`], and is answered at the
//! provider's own pages: evidence is a matter of documents.

use tourmesh::payment::v1 as wire;
use tourmesh_kit::{ApiResult, page};

use crate::{convert, desk::Desk, store};

impl Desk {
    /// A page of the list, newest first.
    pub(crate) async fn disputes(&self, request: &wire::ListDisputesRequest) -> ApiResult<wire::ListDisputesResponse> {
        let filters = format!("ListDisputes:{}", request.open_only);
        let before: Option<uuid::Uuid> = page::read(&request.page_token, filters.as_bytes())?;
        let size = page::size(request.page_size, 50, 200);
        let mut found = store::disputes::list(&self.db, request.open_only, before, i64::from(size) + 1).await?;
        let more = found.len() > usize::try_from(size).unwrap_or(usize::MAX);
        if more {
            found.pop();
        }
        let next_page_token = match found.last() {
            Some(last) if more => page::token(&last.id.uuid(), filters.as_bytes()),
            _ => String::new(),
        };
        let ids: Vec<_> = found.iter().map(|dispute| dispute.payment.uuid()).collect();
        let payments = store::period::payments_of(&self.db, &ids).await?;
        let told = found.iter().filter_map(|dispute| {
            let payment = payments.iter().find(|payment| payment.id == dispute.payment)?;
            Some(convert::dispute(payment, dispute))
        });
        Ok(wire::ListDisputesResponse { disputes: told.collect(), next_page_token })
    }
}
