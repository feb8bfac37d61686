{{- define "isotherm.env.nats" -}}
- name: ISOTHERM_NATS_URL
  {{- if include "isotherm.dev" . }}
  value: nats://{{ include "isotherm.fullname" . }}-nats:4222
  {{- else if .Values.externalNats.existingSecret }}
  valueFrom: {secretKeyRef: {name: {{ .Values.externalNats.existingSecret }}, key: {{ .Values.externalNats.secretKey }}}}
  {{- else }}
  value: {{ .Values.externalNats.url | quote }}
  {{- end }}
{{- end }}

{{- define "isotherm.env.redis" -}}
- name: ISOTHERM_REDIS_URL
  {{- if include "isotherm.dev" . }}
  value: redis://{{ include "isotherm.fullname" . }}-valkey:6379
  {{- else if .Values.externalRedis.existingSecret }}
  valueFrom: {secretKeyRef: {name: {{ .Values.externalRedis.existingSecret }}, key: {{ .Values.externalRedis.secretKey }}}}
  {{- else }}
  value: {{ .Values.externalRedis.url | quote }}
  {{- end }}
{{- end }}

{{- define "isotherm.env.s3" -}}
- name: ISOTHERM_COLD_URL
  value: {{ include "isotherm.coldUrl" . }}
- name: AWS_REGION
  value: {{ .Values.externalS3.region }}
{{- with include "isotherm.s3Endpoint" . }}
- name: AWS_ENDPOINT_URL
  value: {{ . }}
{{- end }}
{{- $secret := .Values.externalS3.existingSecret }}
{{- $id := .Values.externalS3.accessKeyIdKey }}
{{- $key := .Values.externalS3.secretAccessKeyKey }}
{{- if include "isotherm.dev" . }}
{{- $secret = printf "%s-seaweedfs" (include "isotherm.fullname" .) }}
{{- $id = "access-key-id" }}
{{- $key = "secret-access-key" }}
{{- end }}
{{- if $secret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $id }}}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}}
{{- end }}
{{- end }}

{{/* The flag that an endpoint without TLS needs. */}}
{{- define "isotherm.s3Args" -}}
{{- if hasPrefix "http://" (include "isotherm.s3Endpoint" .) }}
- --s3-allow-http
{{- end }}
{{- end }}

{{/* Environment variables of every program: (list . .Values.ingest) */}}
{{- define "isotherm.env.common" -}}
{{- $root := first . }}
- name: ISOTHERM_LOG
  value: {{ $root.Values.log.level | quote }}
- name: ISOTHERM_LOG_FORMAT
  value: {{ $root.Values.log.format }}
{{- with $root.Values.otlp.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . }}
{{- end }}
{{- with (last .).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
