{{/* "true" where the controller makes the certificate. */}}
{{- define "locus-operator.managesCertificate" -}}
{{- and .Values.webhook.enabled (eq .Values.webhook.certificate.source "selfManaged") -}}
{{- end -}}

{{/*
The Secret that the pods mount. Controller and cert-manager have one each: neither takes over the other's, so after a
change of `source` the new one begins with nothing, and the way back finds what was left there.
*/}}
{{- define "locus-operator.certificateSecret" -}}
{{- $certificate := .Values.webhook.certificate -}}
{{- $own := printf "%s-webhook-tls" (include "locus-operator.fullname" .) -}}
{{- $certManagers := printf "%s-webhook-cert-manager-tls" (include "locus-operator.fullname" .) -}}
{{- if eq $certificate.source "existingSecret" -}}
{{- $name := required "webhook.certificate.existingSecret: write the name of the Secret, or choose another webhook.certificate.source" $certificate.existingSecret -}}
{{- if has $name (list $own $certManagers) -}}
{{- fail (printf "webhook.certificate.existingSecret: %s is for the controller or cert-manager to write, choose another name" $name) -}}
{{- end -}}
{{- $name -}}
{{- else -}}
{{- ternary $certManagers $own (eq $certificate.source "certManager") -}}
{{- end -}}
{{- end -}}

{{- define "locus-operator.webhookService" -}}
{{- include "locus-operator.fullname" . }}-webhook
{{- end -}}

{{/* Names and addresses that the API server calls, as {hosts: [...], addresses: [...]}. */}}
{{- define "locus-operator.certificateSubjects" -}}
{{- $service := printf "%s.%s" (include "locus-operator.webhookService" .) .Release.Namespace -}}
{{- $hosts := list (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service) -}}
{{- $addresses := list -}}
{{- with .Values.webhook.clientConfig.url -}}
{{- $host := regexReplaceAll ":[0-9]+$" (urlParse .).host "" | trimPrefix "[" | trimSuffix "]" -}}
{{- if or (regexMatch "^[0-9.]+$" $host) (contains ":" $host) -}}
{{- $addresses = append $addresses $host -}}
{{- else -}}
{{- $hosts = append $hosts $host -}}
{{- end -}}
{{- end -}}
{{- dict "hosts" $hosts "addresses" $addresses | toYaml -}}
{{- end -}}

{{/* Settings of a controller that makes the certificate: it adds the hosts of URLs by itself. */}}
{{- define "locus-operator.certificateSettings" -}}
webhookCertificateSecret: {{ include "locus-operator.certificateSecret" . }}
webhookConfiguration: {{ include "locus-operator.clusterName" . }}
webhookService: {{ include "locus-operator.webhookService" . }}
webhookCertificateDays: {{ .Values.webhook.certificate.days }}
{{- end -}}

{{/*
Seconds that are left of a certificate that should have been renewed: the controller renews it when a third of its time
is left, cert-manager `renewBefore` its end. What somebody brings has a month.
*/}}
{{- define "locus-operator.certificateOverdue" -}}
{{- $certificate := .Values.webhook.certificate -}}
{{- if eq $certificate.source "selfManaged" -}}
{{- mul $certificate.days 21600 -}}
{{- else if eq $certificate.source "certManager" -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9.]+[hms]" $certificate.renewBefore -1 -}}
{{- $seconds = addf $seconds (mulf (trimSuffix (regexFind "[hms]" .) . | float64) (get (dict "h" 3600 "m" 60 "s" 1) (regexFind "[hms]" .))) -}}
{{- end -}}
{{- mulf 0.75 $seconds | int64 -}}
{{- else -}}
2592000
{{- end -}}
{{- end -}}
