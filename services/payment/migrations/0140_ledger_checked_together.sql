-- A statement books dozens of transactions, five entries each. That their payments are there is asked once for all of
-- them, as their balance is, instead of by a query for each entry. Payments are never deleted.
ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_payment_id_fkey;
CREATE FUNCTION ledger_of_payments() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unknown uuid;
BEGIN
    SELECT w.payment_id INTO unknown FROM (SELECT DISTINCT payment_id FROM written) w
        WHERE NOT EXISTS (SELECT FROM payments p WHERE p.id = w.payment_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger entries name the payment %, which there is not', unknown
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'ledger_of_payments', TABLE = 'ledger_entries';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER ledger_of_payments AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger_of_payments();
