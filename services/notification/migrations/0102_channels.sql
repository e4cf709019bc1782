-- More kinds of messages, more channels, reminders, quiet hours, addresses that are none.

-- What reminders, moved departures and webhooks need of a booking.
ALTER TABLE bookings
    ADD COLUMN state        text,
    ADD COLUMN departure_id uuid,
    -- When the reminder is due; NULL: none, or it went out.
    ADD COLUMN remind_at    timestamptz;
CREATE INDEX bookings_remind ON bookings (remind_at) WHERE remind_at IS NOT NULL;
CREATE INDEX bookings_departure ON bookings (departure_id) WHERE state = 'CONFIRMED';

ALTER TABLE preferences
    DROP CONSTRAINT preferences_muted_check,
    ADD COLUMN time_zone   text CHECK (time_zone <> ''),
    ADD COLUMN quiet_from  time,
    ADD COLUMN quiet_until time,
    ADD COLUMN phone       text CHECK (phone ~ '^\+[1-9][0-9]{6,14}$'),
    -- Such as "SMS:RECEIPT".
    ADD COLUMN muted_on    text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT preferences_muted_check CHECK (muted <@ ARRAY[
        'BOOKING_CONFIRMED', 'BOOKING_CANCELLED', 'PAYMENT_FAILED', 'BOOKING_CHANGED', 'BOOKING_RESCHEDULED',
        'DEPARTURE_CANCELLED', 'DEPARTURE_CHANGED', 'WAITING_LIST_OFFER', 'RECEIPT', 'DEPARTURE_REMINDER',
        'WEBHOOK_DISABLED']),
    ADD CHECK ((quiet_from IS NULL) = (quiet_until IS NULL));

ALTER TABLE deliveries
    DROP CONSTRAINT deliveries_channel_check,
    DROP CONSTRAINT deliveries_kind_check,
    DROP CONSTRAINT deliveries_state_check,
    -- sent_at, the address of what was sent, the address and the booking, the event and the delivery that is repeated
    DROP CONSTRAINT deliveries_check1,
    DROP CONSTRAINT deliveries_check2,
    DROP CONSTRAINT deliveries_check3,
    DROP CONSTRAINT deliveries_check4,
    -- The lower the sooner.
    ADD COLUMN priority smallint NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 9),
    -- Where it goes when it is no e-mail: a telephone number, or a push subscription.
    ADD COLUMN address  text CHECK (address <> ''),
    ADD CONSTRAINT deliveries_channel_check CHECK (channel IN ('EMAIL', 'SMS', 'PUSH')),
    ADD CONSTRAINT deliveries_kind_check CHECK (kind IN (
        'BOOKING_CONFIRMED', 'BOOKING_CANCELLED', 'PAYMENT_FAILED', 'BOOKING_CHANGED', 'BOOKING_RESCHEDULED',
        'DEPARTURE_CANCELLED', 'DEPARTURE_CHANGED', 'WAITING_LIST_OFFER', 'RECEIPT', 'DEPARTURE_REMINDER',
        'WEBHOOK_DISABLED')),
    ADD CONSTRAINT deliveries_state_check CHECK (state IN ('PENDING', 'SENT', 'FAILED', 'SUPPRESSED', 'BOUNCED')),
    ADD CONSTRAINT deliveries_sent CHECK ((state IN ('SENT', 'BOUNCED')) = (sent_at IS NOT NULL)),
    ADD CONSTRAINT deliveries_sent_somewhere CHECK (state NOT IN ('SENT', 'BOUNCED') OR email IS NOT NULL OR address IS NOT NULL),
    ADD CONSTRAINT deliveries_address CHECK ((channel = 'EMAIL') = (address IS NULL)),
    ADD CONSTRAINT deliveries_known CHECK (booking IS NULL OR email IS NOT NULL OR address IS NOT NULL),
    -- Reminders have neither.
    ADD CONSTRAINT deliveries_asked_for CHECK (event_id IS NULL OR resend_of IS NULL);
CREATE INDEX deliveries_next ON deliveries (channel, priority, due_at) WHERE state = 'PENDING';
-- What was given up, for staff.
CREATE INDEX deliveries_given_up ON deliveries (id DESC) WHERE state IN ('FAILED', 'BOUNCED');

-- E-mail addresses that do not exist: nothing more is sent to them.
CREATE TABLE dead_addresses (
    address text        PRIMARY KEY,
    reason  text        NOT NULL,
    since   timestamptz NOT NULL DEFAULT now()
);

-- Browsers that want to be told.
CREATE TABLE push_subscriptions (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL,
    endpoint   text        NOT NULL UNIQUE CHECK (endpoint <> ''),
    p256dh     bytea       NOT NULL CHECK (length(p256dh) = 65),
    auth       bytea       NOT NULL CHECK (length(auth) = 16),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX push_subscriptions_of_user ON push_subscriptions (user_id, created_at);
