{{- define "isotherm.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The prefix of every name, short enough for "-hot-writer" and the suffixes of Kubernetes. */}}
{{- define "isotherm.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "isotherm.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "isotherm.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The labels of selectors, which must not change after the first install. */}}
{{- define "isotherm.selector" -}}
app.kubernetes.io/name: {{ include "isotherm.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "isotherm.labels" -}}
{{ include "isotherm.selector" . }}
app.kubernetes.io/part-of: isotherm
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata of the object NAME of a component: (list . "ingest"), or (list . "ingest" "other-name"). */}}
{{- define "isotherm.metadata" -}}
{{- $root := first . }}
{{- $component := index . 1 }}
name: {{ include "isotherm.fullname" $root }}-{{ if gt (len .) 2 }}{{ index . 2 }}{{ else }}{{ $component }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "isotherm.labels" $root | nindent 2 }}
  app.kubernetes.io/component: {{ $component }}
{{- end }}

{{/* (list . "ingest") */}}
{{- define "isotherm.componentSelector" -}}
{{ include "isotherm.selector" (first .) }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "isotherm.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{- define "isotherm.dev" -}}
{{- if eq .Values.profile "dev" }}true{{ end }}
{{- end }}

{{- define "isotherm.url" -}}
http://{{ include "isotherm.fullname" (first .) }}-{{ last . }}
{{- end }}

{{- define "isotherm.ingestUrl" -}}
{{ include "isotherm.url" (list . "ingest") }}:{{ .Values.ingest.service.port }}
{{- end }}

{{- define "isotherm.queryUrl" -}}
{{ include "isotherm.url" (list . "query") }}:{{ .Values.query.service.port }}
{{- end }}

{{- define "isotherm.compactorUrl" -}}
{{ include "isotherm.url" (list . "compactor") }}:7403
{{- end }}

{{/* The executor runs in the compactor's pod. */}}
{{- define "isotherm.executorUrl" -}}
{{ include "isotherm.url" (list . "compactor") }}:7405
{{- end }}

{{- define "isotherm.coldUrl" -}}
{{- if include "isotherm.dev" . -}}
s3://{{ .Values.dev.seaweedfs.bucket }}/isotherm
{{- else -}}
s3://{{ .Values.externalS3.bucket }}/{{ trimAll "/" .Values.externalS3.prefix }}
{{- end }}
{{- end }}

{{- define "isotherm.s3Endpoint" -}}
{{- if include "isotherm.dev" . -}}
{{ include "isotherm.url" (list . "seaweedfs") }}:8333
{{- else -}}
{{ .Values.externalS3.endpoint }}
{{- end }}
{{- end }}
