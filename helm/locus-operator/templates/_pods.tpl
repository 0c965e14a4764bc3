{{/* What the pod templates of controller and webhook have in common, from the values of the part. */}}
{{- define "locus-operator.podPlacement" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | toYaml }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml (hasKey . "labelSelector" | ternary . (merge (dict "labelSelector" (dict "matchLabels" (include "locus-operator.selector" $ | fromYaml))) .)) | indent 4 | trim }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "locus-operator.podSecurity" -}}
# Otherwise our own Services become variables that look like settings, such as LOCUS_OPERATOR_WEBHOOK_PORT.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end -}}

{{- define "locus-operator.containerImage" -}}
image: {{ include "locus-operator.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{/* Settings of both parts, those of the part, and its own variables, which replace those of the same name. */}}
{{- define "locus-operator.env" -}}
{{- $variables := dict "LOG_FORMAT" .root.Values.logs.format "LOG_LEVEL" .root.Values.logs.level -}}
{{- with .root.Values.watchNamespaces -}}
{{- $_ := set $variables "WATCH_NAMESPACES" (join "," .) -}}
{{- end -}}
{{- range $name, $value := mergeOverwrite (dict) .values.settings .settings -}}
{{- /* Helm holds numbers as floating point, and would write large ones with an exponent. */ -}}
{{- $_ := set $variables (snakecase $name | upper) (kindIs "float64" $value | ternary (toJson $value) $value) -}}
{{- end -}}
{{- $extra := list -}}
{{- range .values.extraEnv -}}
{{- $extra = append $extra .name -}}
{{- end -}}
env:
  {{- if not (has "LOCUS_OPERATOR_NAMESPACE" $extra) }}
  - name: LOCUS_OPERATOR_NAMESPACE
    valueFrom:
      fieldRef: {fieldPath: metadata.namespace}
  {{- end }}
  {{- range $name, $value := $variables }}
  {{- /* A name that is there twice is refused by server-side apply. */}}
  {{- if not (has (printf "LOCUS_OPERATOR_%s" $name) $extra) }}
  - name: LOCUS_OPERATOR_{{ $name }}
    value: {{ $value | toString | quote }}
  {{- end }}
  {{- end }}
  {{- with .values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels of a pod: its own, those of its values, and those of everything. */}}
{{- define "locus-operator.podLabels" -}}
{{- $selector := include "locus-operator.selector" . | fromYaml -}}
{{- mergeOverwrite (dict) .root.Values.commonLabels .values.podLabels $selector | toYaml -}}
{{- end -}}

{{/* The account of the short-lived pods. Who grants permissions by hand does so for the controller's. */}}
{{- define "locus-operator.hookAccount" -}}
{{- $controller := include "locus-operator.account" (dict "root" .root "part" "controller") -}}
{{- .root.Values.rbac.create | ternary (printf "%s-%s" (include "locus-operator.fullname" .root) .part) $controller -}}
{{- end -}}

{{/* Where the short-lived pods of `helm uninstall` and `helm test` run: with the controller. */}}
{{- define "locus-operator.hookPlacement" -}}
{{- with .Values.controller.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.controller.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
