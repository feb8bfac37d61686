{{/*
A Service and the head of a StatefulSet of one server, up to its container's own fields:
(dict "root" . "name" "nats" "values" .Values.dev.nats "ports" (dict "client" 4222))
*/}}
{{- define "isotherm.devServer" }}
apiVersion: v1
kind: Service
metadata:
  {{- include "isotherm.metadata" (list .root .name) | trim | nindent 2 }}
spec:
  selector:
    {{- include "isotherm.componentSelector" (list .root .name) | nindent 4 }}
  ports:
    {{- range $port, $number := .ports }}
    - {name: {{ $port }}, port: {{ $number }}, targetPort: {{ $port }}}
    {{- end }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "isotherm.metadata" (list .root .name) | trim | nindent 2 }}
spec:
  serviceName: {{ include "isotherm.fullname" .root }}-{{ .name }}
  replicas: 1
  selector:
    matchLabels:
      {{- include "isotherm.componentSelector" (list .root .name) | nindent 6 }}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  volumeClaimTemplates:
    - {{- include "isotherm.claim" (list .root .name "data" (dict "size" .values.storage "accessMode" "ReadWriteOnce" "storageClass" .root.Values.dev.storageClass)) | trim | nindent 6 }}
  template:
    metadata:
      {{- include "isotherm.pod.metadata" (list .root .name) | trim | nindent 6 }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "isotherm.podSecurity" .root | nindent 8 }}
      terminationGracePeriodSeconds: 30
      containers:
        - name: {{ .name }}
          image: {{ .values.image | quote }}
          imagePullPolicy: IfNotPresent
          securityContext:
            {{- include "isotherm.containerSecurity" .root | nindent 12 }}
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          ports:
            {{- range $port, $number := .ports }}
            - {name: {{ $port }}, containerPort: {{ $number }}}
            {{- end }}
{{- end }}
