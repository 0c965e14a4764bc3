{{- define "locus-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters, so that what is appended fits into the 63 of a Service's name. */}}
{{- define "locus-operator.fullname" -}}
{{- $name := include "locus-operator.name" . -}}
{{- $ofRelease := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $fullname := .Values.fullnameOverride | default $ofRelease | trunc 40 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]*$" $fullname) -}}
{{- fail (printf "fullnameOverride: write one, since no Service can be called %s-webhook: names of Services begin with a letter, and have no dots" $fullname) -}}
{{- end -}}
{{- $fullname -}}
{{- end -}}

{{/* Names of objects without a namespace: two releases of one name in two namespaces must not meet. */}}
{{- define "locus-operator.clusterName" -}}
{{- $fullname := include "locus-operator.fullname" . -}}
{{- .Values.watchNamespaces | empty | ternary $fullname (printf "%s-%s" .Release.Namespace $fullname) -}}
{{- end -}}

{{/* The service account of a part. What has no name of its own would run as `default`, which others run as, too. */}}
{{- define "locus-operator.account" -}}
{{- $values := (get .root.Values .part).serviceAccount -}}
{{- if not (or $values.create $values.name) -}}
{{- fail (printf "%s.serviceAccount.name: write the name of the account, or let the chart create one" .part) -}}
{{- end -}}
{{- $values.name | default (printf "%s-%s" (include "locus-operator.fullname" .root) .part) -}}
{{- end -}}

{{- define "locus-operator.image" -}}
{{- with .Values.image -}}
{{- .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Labels by which a part's pods are found: they never change. */}}
{{- define "locus-operator.selector" -}}
app.kubernetes.io/name: {{ include "locus-operator.name" .root | toYaml }}
app.kubernetes.io/instance: {{ .root.Release.Name | toYaml }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{/* Metadata of an object, without its name: labels and annotations. */}}
{{- define "locus-operator.metadata" -}}
{{- $defaults := dict "app.kubernetes.io/part-of" "locus-memory" -}}
{{- $ours := dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
-}}
{{- $selector := include "locus-operator.selector" . | fromYaml -}}
labels:
  {{- mergeOverwrite $defaults .root.Values.commonLabels (.labels | default dict) $ours $selector | toYaml | nindent 2 }}
{{- with mergeOverwrite (dict) .root.Values.commonAnnotations (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
