{{/*
The pods of all programs are alike: who they run as, where they run, what they may write to.
Each of these takes (list . "component" .Values.component).
*/}}
{{- define "isotherm.pod.metadata" -}}
labels:
  {{- include "isotherm.labels" (first .) | nindent 2 }}
  app.kubernetes.io/component: {{ index . 1 }}
  {{- with (first .).Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with (first .).Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "isotherm.pod.spec" -}}
{{- $root := first . }}
{{- $component := index . 1 }}
{{- $values := last . }}
serviceAccountName: {{ include "isotherm.fullname" $root }}-{{ include "isotherm.account" $component }}
automountServiceAccountToken: {{ eq $component "operator" }}
# Otherwise Kubernetes adds variables for Services, and one named after a flag would set that flag.
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- include "isotherm.podSecurity" $root | nindent 2 }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Spreads over nodes and zones, best effort: (list . "component" .Values.component) */}}
{{- define "isotherm.spread" -}}
topologySpreadConstraints:
{{- with (last .).topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- $selector := include "isotherm.componentSelector" (list (first .) (index . 1)) }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "isotherm.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "isotherm.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The head of a container that runs the program named like its component. */}}
{{- define "isotherm.container" -}}
{{- $root := first . }}
name: {{ index . 1 }}
image: {{ include "isotherm.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [/usr/local/bin/{{ index . 1 }}]
securityContext:
  {{- include "isotherm.containerSecurity" $root | nindent 2 }}
resources:
  {{- toYaml (last .).resources | nindent 2 }}
{{- end }}

{{/* livez: the process serves. readyz: it accepts traffic. The start may take long: segments are opened. Takes the name of the port. */}}
{{- define "isotherm.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 1
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 3
{{- end }}

{{/* The service account: only components that use the bucket get the one that may. */}}
{{- define "isotherm.account" -}}
{{- if eq . "operator" }}operator
{{- else if has . (list "compactor" "query" "archiver") }}bucket
{{- else }}plain
{{- end }}
{{- end }}
