{{/* The roles: port, and whether the role keeps data. The one table that the templates loop over. */}}
{{- define "tourmesh.roles" -}}
catalog: { port: 50051, data: true }
booking: { port: 50052, data: true }
payment: { port: 50053, data: true }
notification: { port: 50054, data: true }
identity: { port: 50055, data: true }
gateway: { port: 8080, data: false }
{{- end }}

{{- define "tourmesh.metricsPort" -}}9464{{- end }}

{{- define "tourmesh.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for "-notification" to fit behind it. */}}
{{- define "tourmesh.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "tourmesh.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "tourmesh.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tourmesh.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: tourmesh
{{ include "tourmesh.selector" . }}
{{- end }}

{{- define "tourmesh.selector" -}}
app.kubernetes.io/name: {{ include "tourmesh.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tourmesh.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "tourmesh.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "tourmesh.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tourmesh.secretName" -}}
{{ default (include "tourmesh.fullname" .) .Values.secrets.existingSecret }}
{{- end }}

{{/* What a migration reads: a Secret of its own, because hooks run before the release's own objects are there. */}}
{{- define "tourmesh.migrateSecretName" -}}
{{ default (printf "%s-migrate" (include "tourmesh.fullname" .)) .Values.secrets.existingSecret }}
{{- end }}

{{/* One variable from a key of a Secret: list of Secret, variable, key. */}}
{{- define "tourmesh.secretVariable" -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 0 }}
      key: {{ index . 2 }}
{{- end }}

{{/* The same for a key that need not be there. */}}
{{- define "tourmesh.optionalSecretVariable" -}}
{{ include "tourmesh.secretVariable" . }}
      optional: true
{{- end }}

{{/* A role's secrets, and no other role's: dict of context and role. */}}
{{- define "tourmesh.secretVariables" -}}
{{- $secret := include "tourmesh.secretName" .context }}
{{- $role := .role }}
{{- $upper := upper $role }}
{{ include "tourmesh.secretVariable" (list $secret "TOURMESH_MESH_SECRET" "mesh-secret") }}
{{- if .data }}
{{ include "tourmesh.secretVariable" (list $secret "TOURMESH_NATS_URL" "nats-url") }}
{{ include "tourmesh.secretVariable" (list $secret (printf "TOURMESH_%s_DATABASE_URL" $upper) (printf "%s-database-url" $role)) }}
{{- end }}
{{- if eq $role "identity" }}
{{ include "tourmesh.secretVariable" (list $secret "TOURMESH_IDENTITY_KEY_SECRET" "identity-key-secret") }}
{{- end }}
{{- if eq $role "payment" }}
{{- if has "sandbox" .context.Values.payment.providers }}
{{ include "tourmesh.secretVariable" (list $secret "TOURMESH_PAYMENT_SANDBOX_WEBHOOK_SECRET" "sandbox-webhook-secret") }}
{{- end }}
{{- if has "stripe" .context.Values.payment.providers }}
{{ include "tourmesh.secretVariable" (list $secret "TOURMESH_PAYMENT_STRIPE_SECRET_KEY" "stripe-secret-key") }}
{{ include "tourmesh.secretVariable" (list $secret "TOURMESH_PAYMENT_STRIPE_WEBHOOK_SECRETS" "stripe-webhook-secrets") }}
{{- end }}
{{- end }}
{{- if has $role (list "booking" "notification") }}
{{ include "tourmesh.optionalSecretVariable" (list $secret (printf "TOURMESH_%s_VOUCHER_SECRET" $upper) "voucher-secret") }}
{{- end }}
{{- if eq $role "notification" }}
{{ include "tourmesh.optionalSecretVariable" (list $secret "TOURMESH_NOTIFICATION_LINK_SECRET" "link-secret") }}
{{ include "tourmesh.optionalSecretVariable" (list $secret "TOURMESH_NOTIFICATION_WEBHOOK_KEY" "webhook-key") }}
{{- if eq .context.Values.mail.transport "smtp" }}
{{ include "tourmesh.secretVariable" (list $secret "TOURMESH_NOTIFICATION_SMTP_URL" "smtp-url") }}
{{- end }}
{{- if .context.Values.notification.sms.url }}
{{ include "tourmesh.secretVariable" (list $secret "TOURMESH_NOTIFICATION_SMS_TOKEN" "sms-token") }}
{{- end }}
{{- if .context.Values.notification.push.enabled }}
{{ include "tourmesh.secretVariable" (list $secret "TOURMESH_NOTIFICATION_PUSH_KEY" "push-key") }}
{{- end }}
{{- end }}
{{- end }}

{{/* The restricted Pod Security Standard, and a root that cannot be written to. */}}
{{- define "tourmesh.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "tourmesh.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
