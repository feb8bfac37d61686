{{/* Checks that the schema cannot express, with messages instead of a failing pod. */}}
{{- define "isotherm.validate" -}}
{{- if include "isotherm.dev" . }}
{{- include "isotherm.refuseBoth" . }}
{{- else }}
{{- include "isotherm.requireEndpoints" . }}
{{- end }}
{{- include "isotherm.validateGrace" . }}
{{- include "isotherm.validateMemory" . }}
{{- range list "ingest" "query" }}
{{- $values := index $.Values . }}
{{- if and $values.autoscaling.enabled $values.keda.enabled }}
{{- fail (printf "\n\n%s.autoscaling and %s.keda would both set the number of pods: enable one of them.\n" . .) }}
{{- end }}
{{- if and $values.keda.enabled (not $values.keda.prometheusUrl) }}
{{- fail (printf "\n\n%s.keda needs to know where to ask: set %s.keda.prometheusUrl, for example http://prometheus.monitoring:9090.\n" . .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A grace period of zero must be asked for twice. */}}
{{- define "isotherm.validateGrace" -}}
{{- with .Values.operator }}
{{- if and (hasPrefix "0" .minGrace) (not .allowZeroGrace) }}
{{- fail (printf "\n\noperator.minGrace: %s lets whoever may write a policy delete events at once: set it to 1s or more, or operator.allowZeroGrace to true.\n" .minGrace) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "isotherm.refuseBoth" -}}
{{- range $name, $given := dict "externalNats" (or .Values.externalNats.url .Values.externalNats.existingSecret) "externalRedis" (or .Values.externalRedis.url .Values.externalRedis.existingSecret) "externalS3" .Values.externalS3.bucket }}
{{- if $given }}
{{- fail (printf "\n\nprofile: dev brings its own NATS, Valkey and SeaweedFS, and %s is set too: remove %s, or set profile: production.\n" $name $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "isotherm.requireEndpoints" -}}
{{- $missing := list }}
{{- with .Values.externalNats }}
{{- if not (or .url .existingSecret) }}
{{- $missing = append $missing "externalNats.existingSecret (a Secret whose key `url` is nats://user:password@host:4222) or externalNats.url" }}
{{- end }}
{{- if not (or .monitorUrls .allowUnsafeLog) }}
{{- $missing = append $missing "externalNats.monitorUrls (http://host:8222 of every server, so that ingest can see `sync_interval: always`)" }}
{{- end }}
{{- end }}
{{- if not (or .Values.externalRedis.url .Values.externalRedis.existingSecret) }}
{{- $missing = append $missing "externalRedis.existingSecret (a Secret whose key `url` is redis://:password@host:6379) or externalRedis.url" }}
{{- end }}
{{- if not .Values.externalS3.bucket }}
{{- $missing = append $missing "externalS3.bucket (with externalS3.existingSecret, or an identity by serviceAccount.annotations)" }}
{{- end }}
{{- if $missing }}
{{- fail (printf "\n\nIsotherm needs a log, a hot tier and a bucket. To try it out, set profile: dev, which brings all three. Otherwise set:\n  - %s\n" (join "\n  - " $missing)) }}
{{- end }}
{{- end }}
