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
