{{- define "intact.labels" -}}
app.kubernetes.io/name: intact
app.kubernetes.io/part-of: intact
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "intact.image" -}}
{{- $reference := required "image.repository: where the image of Intact was pushed" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $reference }}@{{ .Values.image.digest }}
{{- else -}}
{{ $reference }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Who may write records: the one identity that the admission policy lets through. */}}
{{- define "intact.controllerUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:intact-controller
{{- end }}

{{/* "true" where the controller's replicas share a database; fails where what is asked for cannot be. */}}
{{- define "intact.isShared" -}}
{{- if and .Values.database.url .Values.database.secretName -}}
{{- fail "database: set url or secretName, not both" -}}
{{- end -}}
{{- if or .Values.database.url .Values.database.secretName -}}
true
{{- else if gt (int .Values.controller.replicas) 1 -}}
{{- fail (printf "controller.replicas is %d: more than one need a database that they share. Set database.secretName (see docs/storage.md), or controller.replicas=1" (int .Values.controller.replicas)) -}}
{{- end -}}
{{- end }}
