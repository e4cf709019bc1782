-- Failed payments are told by Booking now, with the booking: no message waits for its address any more.
UPDATE deliveries SET state = 'FAILED', due_at = NULL, error = 'the booking never became known, so there is no address'
WHERE state = 'PENDING' AND email IS NULL AND address IS NULL;
DROP INDEX deliveries_unaddressed;
-- deliveries_next has what it had.
DROP INDEX deliveries_due;
DELETE FROM bookings WHERE facts IS NULL;
ALTER TABLE bookings
    ALTER COLUMN user_id SET NOT NULL,
    ALTER COLUMN email SET NOT NULL,
    ALTER COLUMN language SET NOT NULL,
    ALTER COLUMN facts SET NOT NULL;
