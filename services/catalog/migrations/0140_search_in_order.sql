-- One country or one currency in the order of titles: a page is read from there and stops when it is full, however many
-- tours there are.
DROP INDEX search_country;
CREATE INDEX search_by_country_en ON search (country, title_en_key, tour_id);
CREATE INDEX search_by_country_fr ON search (country, title_fr_key, tour_id);
CREATE INDEX search_by_currency_en ON search (currency, title_en_key, tour_id);
CREATE INDEX search_by_currency_fr ON search (currency, title_fr_key, tour_id);
