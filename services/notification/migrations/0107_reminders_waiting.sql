-- A booking that changes withdraws the reminders that wait. Without an index of its own the look for them went through
-- everything that waits or lately did: 2 ms for a batch, most often for nothing.
CREATE INDEX deliveries_reminders ON deliveries (booking_id) WHERE kind = 'DEPARTURE_REMINDER' AND state = 'PENDING';
