-- A booking is updated soon after it was made, when it is paid for: half of those updates found no room in the page of
-- their row and were written into all seven indexes.
ALTER TABLE bookings SET (fillfactor = 60);
