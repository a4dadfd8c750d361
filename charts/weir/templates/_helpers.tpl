{{/* Names: the release's own, cut to what a label holds. */}}
{{- define "weir.name" -}}
{{- if contains "weir" .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{ else }}{{ printf "%s-weir" .Release.Name | trunc 53 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Names of what is not in a namespace. */}}
{{- define "weir.clusterName" -}}
{{ printf "%s:%s" .Release.Namespace (include "weir.name" .) }}
{{- end }}

{{- define "weir.account" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "weir.name" .) }}{{ else }}{{ required "serviceAccount.name is needed if none is made" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "weir.selector" -}}
app.kubernetes.io/name: weir-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: weir
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{/* An image by digest, by tag, or by the version of the chart. */}}
{{- define "weir.image" -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}{{ else }}{{ .image.repository }}:{{ .image.tag | default .version }}{{ end }}
{{- end }}

{{/* The namespaces in which jobs are run, as a list in JSON. */}}
{{- define "weir.namespaces" -}}
{{- if and .Values.watch.allNamespaces .Values.watch.namespaces }}{{ fail "watch.allNamespaces and watch.namespaces exclude each other" }}{{ end }}
{{- if .Values.watch.namespaces }}{{ .Values.watch.namespaces | uniq | toJson }}{{ else }}{{ list .Release.Namespace | toJson }}{{ end }}
{{- end }}
