{{/* What the operator makes the archiver's CronJob of, see services/operator/src/archiver_job.rs. */}}
{{- define "isotherm.archiverJob" -}}
{{- $here := list . "archiver" .Values.archiver }}
{{- with .Values.archiver }}
name: {{ include "isotherm.fullname" $ }}-archiver
owner: {{ include "isotherm.fullname" $ }}-operator
serviceAccount: {{ include "isotherm.fullname" $ }}-{{ include "isotherm.account" "archiver" }}
labels:
  {{- include "isotherm.labels" $ | nindent 2 }}
  app.kubernetes.io/component: archiver
podLabels:
  {{- toYaml $.Values.podLabels | nindent 2 }}
podAnnotations:
  {{- toYaml $.Values.podAnnotations | nindent 2 }}
image: {{ include "isotherm.image" $ | quote }}
imagePullPolicy: {{ $.Values.image.pullPolicy }}
imagePullSecrets:
  {{- toYaml $.Values.imagePullSecrets | nindent 2 }}
priorityClassName: {{ $.Values.priorityClassName | quote }}
args:
  - --compactor-url={{ include "isotherm.compactorUrl" $ }}
  - --vacuum-after={{ .vacuumAfter }}
  - --file-memory-bytes={{ int64 .fileMemoryBytes }}
  {{- with include "isotherm.s3Args" $ }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  {{- include "isotherm.env.nats" $ | nindent 2 }}
  {{- include "isotherm.env.s3" $ | nindent 2 }}
  {{- include "isotherm.env.common" $here | nindent 2 }}
{{- range list "resources" "nodeSelector" "tolerations" "affinity" }}
{{ . }}:
  {{- toYaml (index $.Values.archiver .) | nindent 2 }}
{{- end }}
{{- range list "startingDeadlineSeconds" "activeDeadlineSeconds" "backoffLimit" "successfulJobsHistoryLimit" "failedJobsHistoryLimit" "ttlSecondsAfterFinished" }}
{{ . }}: {{ index $.Values.archiver . | int64 }}
{{- end }}
{{- end }}
{{- end }}
