-- A statement books dozens of transactions, five entries each. That their payments are there is asked once for all of
-- them, beside the balance, instead of by a query for each entry. Payments are never deleted.
ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_payment_id_fkey;
CREATE OR REPLACE FUNCTION ledger_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unbalanced record;
    unknown uuid;
BEGIN
    SELECT transaction_id, currency, sum(amount) AS off INTO unbalanced
        FROM written GROUP BY transaction_id, currency HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % is off by % %', unbalanced.transaction_id, unbalanced.off, unbalanced.currency
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balanced', TABLE = 'ledger_entries';
    END IF;
    SELECT w.payment_id INTO unknown FROM (SELECT DISTINCT payment_id FROM written) w
        WHERE NOT EXISTS (SELECT FROM payments p WHERE p.id = w.payment_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger entries name the payment %, which there is not', unknown
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'ledger_of_payments', TABLE = 'ledger_entries';
    END IF;
    RETURN NULL;
END
$$;
