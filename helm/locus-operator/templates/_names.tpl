{{- define "locus-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters, so that what is appended fits into the 63 of a Service's name. */}}
{{- define "locus-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "locus-operator.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Names of objects without a namespace: two releases of one name in two namespaces must not meet. */}}
{{- define "locus-operator.clusterName" -}}
{{- $fullname := include "locus-operator.fullname" . -}}
{{- if or .Values.fullnameOverride (not .Values.watchNamespaces) -}}
{{- $fullname -}}
{{- else -}}
{{- printf "%s-%s" .Release.Namespace $fullname -}}
{{- end -}}
{{- end -}}

{{- define "locus-operator.controllerAccount" -}}
{{- with .Values.controller.serviceAccount -}}
{{- .name | default (ternary (printf "%s-controller" (include "locus-operator.fullname" $)) "default" .create) -}}
{{- end -}}
{{- end -}}

{{- define "locus-operator.webhookAccount" -}}
{{- with .Values.webhook.serviceAccount -}}
{{- .name | default (ternary (printf "%s-webhook" (include "locus-operator.fullname" $)) "default" .create) -}}
{{- end -}}
{{- end -}}

{{- define "locus-operator.image" -}}
{{- with .Values.image -}}
{{- .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Labels by which a part's pods are found: they never change. */}}
{{- define "locus-operator.selector" -}}
app.kubernetes.io/name: {{ include "locus-operator.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{/* Metadata of an object, without its name: labels and annotations. */}}
{{- define "locus-operator.metadata" -}}
labels:
  helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  app.kubernetes.io/part-of: locus-memory
  {{- include "locus-operator.selector" . | nindent 2 }}
  {{- with mergeOverwrite (dict) .root.Values.commonLabels (.labels | default dict) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with mergeOverwrite (dict) .root.Values.commonAnnotations (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
