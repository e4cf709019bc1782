-- Taxes and discounts of what was sold, frozen.

-- The tax rules that a purchase was made under; rule n is tax_names[n], tax_percents[n], tax_included[n].
ALTER TABLE terms
    ADD COLUMN tax_names    text[]         NOT NULL DEFAULT '{}',
    ADD COLUMN tax_percents numeric(7,4)[] NOT NULL DEFAULT '{}',
    ADD COLUMN tax_included boolean[]      NOT NULL DEFAULT '{}',
    ADD CONSTRAINT every_tax_is_complete
        CHECK (cardinality(tax_names) = cardinality(tax_percents) AND cardinality(tax_names) = cardinality(tax_included)),
    ADD CONSTRAINT a_tax_is_a_share CHECK (0 <= ALL (tax_percents) AND 100 >= ALL (tax_percents));

-- `price` is what a guest pays: the listed price, less the discount, with the added taxes.
ALTER TABLE unit_items
    -- NULL: none.
    ADD COLUMN discount numeric(19,4)   CHECK (discount > 0),
    -- How much of the price each tax of the terms is; NULL: no tax counts.
    ADD COLUMN taxes    numeric(19,4)[] CHECK (0 <= ALL (taxes));

ALTER TABLE waiting
    -- The taxes of the first guest, of the second, and so on.
    ADD COLUMN taxes numeric(19,4)[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT every_guest_has_every_tax CHECK (cardinality(taxes) % greatest(cardinality(units), 1) = 0);
