{{/* What the pod templates of controller and webhook have in common, from the values of the part. */}}
{{- define "locus-operator.podPlacement" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
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

{{/* Settings of both parts, those of the part, and its own variables, which come last and win. */}}
{{- define "locus-operator.env" -}}
env:
  - name: LOCUS_OPERATOR_NAMESPACE
    valueFrom:
      fieldRef: {fieldPath: metadata.namespace}
  - name: LOCUS_OPERATOR_LOG_FORMAT
    value: {{ .root.Values.logs.format }}
  - name: LOCUS_OPERATOR_LOG_LEVEL
    value: {{ .root.Values.logs.level }}
  {{- with .root.Values.watchNamespaces }}
  - name: LOCUS_OPERATOR_WATCH_NAMESPACES
    value: {{ join "," . | quote }}
  {{- end }}
  {{- range $name, $value := mergeOverwrite (dict) .values.settings .settings }}
  - name: LOCUS_OPERATOR_{{ snakecase $name | upper }}
    {{- /* Helm holds numbers as floating point, and would write large ones with an exponent. */}}
    value: {{ (kindIs "float64" $value | ternary (toJson $value) $value) | toString | quote }}
  {{- end }}
  {{- with .values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
