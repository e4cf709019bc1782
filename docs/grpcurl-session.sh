#!/bin/sh
# The session of the README, against a running `cargo mesh up`; needs grpcurl and python3. Prints commands and answers.
set -eu
gateway=${1:-127.0.0.1:8080}
say() { printf '$ %s\n' "$*"; }
field() { python3 -c "import json,sys; v=json.load(sys.stdin)
for k in '$1'.split('.'): v=v[int(k)] if k.isdigit() else v[k]
print(v)"; }
call() {
  say "grpcurl -plaintext ${3:+-H \"authorization: Bearer \$TOKEN\" }-d '$1' $gateway $2" >&2
  if [ -n "${3:-}" ]; then grpcurl -plaintext -H "authorization: Bearer $3" -d "$1" "$gateway" "$2"
  else grpcurl -plaintext -d "$1" "$gateway" "$2"; fi
}
say "grpcurl -plaintext $gateway list"
grpcurl -plaintext "$gateway" list
search=$(call '{"query":"chateau","page_size":1}' tourmesh.catalog.v1.CatalogService/SearchTours)
printf '%s\n' "$search"
tour=$(printf '%s' "$search" | field hits.0.tour.id)
departures=$(call "{\"tour_id\":\"$tour\",\"date_from\":\"${2:-2027-01-04}\",\"page_size\":1}" tourmesh.catalog.v1.CatalogService/ListDepartures)
printf '%s\n' "$departures"
departure=$(printf '%s' "$departures" | field departures.0.id)
tokens=$(call '{"email":"traveller@tourmesh.example","password":"demo-traveller"}' tourmesh.identity.v1.IdentityService/SignIn)
token=$(printf '%s' "$tokens" | field tokens.accessToken)
held=$(call "{\"request_id\":\"first-$$\",\"departure_id\":\"$departure\",\"units\":[{\"unit\":\"UNIT_TYPE_ADULT\",\"quantity\":2}],\"contact\":{\"full_name\":\"Tara\",\"email\":\"tara@example.org\"}}" tourmesh.booking.v1.BookingService/CreateBooking "$token")
printf '%s\n' "$held"
booking=$(printf '%s' "$held" | field booking.id)
call "{\"request_id\":\"second-$$\",\"booking_id\":\"$booking\",\"payment_method\":\"card_ok\"}" tourmesh.booking.v1.BookingService/ConfirmBooking "$token"
sleep 1
call "{\"booking_id\":\"$booking\"}" tourmesh.notification.v1.NotificationService/ListDeliveries "$token"
