//! Tax rules: set, taken back, listed. What is on sale is priced by them from then on.

use chrono::{DateTime, Utc};
use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{ApiError, ApiResult, events::outbox, page};
use uuid::Uuid;

use crate::{
    catalog::{Asked, Catalog, transaction},
    convert,
    domain::{TaxRuleId, tax_rule::TaxRule},
    error::CatalogError,
    events,
    store::{requests::Claim, tax_rules},
};

/// The most of one country that are not deleted.
const MOST: usize = 200;

impl Catalog {
    pub(crate) async fn set_tax_rule(&self, asked: Asked, new: wire::TaxRule) -> ApiResult<TaxRule> {
        let named = if new.id.is_empty() { None } else { Some(TaxRuleId::of_field("rule.id", &new.id)?) };
        let rule = convert::read_tax_rule(new, named.unwrap_or_else(TaxRuleId::new), asked.now)?;
        transaction!(self.db, [asked, rule], |tx| {
            if let Claim::Done(id, _) = asked.request.claim(tx, rule.id.uuid()).await? {
                return known(tax_rules::find(tx, TaxRuleId::from_uuid(id)).await?).map(|(rule, _)| rule);
            }
            tax_rules::lock_country(tx, &rule.country).await?;
            let mut rule = rule;
            if named.is_some() {
                let (before, deleted) = known(tax_rules::find(tx, rule.id).await?)?;
                if deleted {
                    return Err(CatalogError::TaxRuleNotFound.into());
                }
                if before.country != rule.country {
                    return Err(ApiError::field("rule.country", "cannot be changed"));
                }
                rule.created_at = before.created_at;
            }
            let mut others = tax_rules::of_country(tx, &rule.country).await?;
            others.retain(|other| other.id != rule.id);
            if others.len() >= MOST {
                return Err(ApiError::field("rule", format!("is one too many: at most {MOST} of a country")));
            }
            rule.fits(&others)?;
            tax_rules::set(tx, &rule).await?;
            outbox::append(tx, &[events::taxes_changed(&rule, false)]).await?;
            Ok(rule)
        })
    }

    pub(crate) async fn delete_tax_rule(&self, asked: Asked, id: TaxRuleId) -> ApiResult<()> {
        transaction!(self.db, [asked], |tx| {
            let (rule, _) = known(tax_rules::find(tx, id).await?)?;
            tax_rules::lock_country(tx, &rule.country).await?;
            // As it is under the lock.
            let (rule, deleted) = known(tax_rules::find(tx, id).await?)?;
            if matches!(asked.request.claim(tx, id.uuid()).await?, Claim::Done(..)) || deleted {
                return Ok(());
            }
            tax_rules::delete(tx, id, asked.now).await?;
            outbox::append(tx, &[events::taxes_changed(&rule, true)]).await
        })
    }

    pub(crate) async fn list_tax_rules(
        &self,
        request: &wire::ListTaxRulesRequest,
    ) -> ApiResult<wire::ListTaxRulesResponse> {
        let filters = format!("ListTaxRules:{}", request.country).into_bytes();
        let after: Option<(String, DateTime<Utc>, Uuid)> = page::read(&request.page_token, &filters)?;
        let size = page::size(request.page_size, 50, 200);
        let mut found = tax_rules::page(&self.db, &request.country, after, u64::from(size) + 1).await?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more);
        let key = |rule: &TaxRule| page::token(&(&rule.country, rule.created_at, rule.id.uuid()), &filters);
        Ok(wire::ListTaxRulesResponse {
            next_page_token: last.map(key).unwrap_or_default(),
            rules: found.iter().map(convert::tax_rule).collect(),
        })
    }
}

fn known(found: Option<(TaxRule, bool)>) -> ApiResult<(TaxRule, bool)> {
    found.ok_or_else(|| CatalogError::TaxRuleNotFound.into())
}
