-- Promo codes of those who wait.
--
-- Lock order: promo codes before departures, as with holds. Whoever frees seats locks the codes that are waited with first.

ALTER TABLE waiting
    -- What the offer is to be made with.
    ADD COLUMN promo_id      uuid,
    -- Why it was not.
    ADD COLUMN promo_refusal text CHECK (promo_refusal IN ('USED_UP', 'ENDED', 'NOT_APPLICABLE')),
    ADD CONSTRAINT only_an_offer_is_made_without CHECK (
        promo_refusal IS NULL OR promo_id IS NOT NULL AND state = 'OFFERED');
CREATE INDEX waiting_with_promos ON waiting (tour_id) WHERE state = 'WAITING' AND promo_id IS NOT NULL;
