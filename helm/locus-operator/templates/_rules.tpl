{{/* What the controller may do where the stores are: in a ClusterRole, or in a Role of each namespace. */}}
{{- define "locus-operator.rulesForStores" -}}
# Stores: watched; finalizer, kopf's own annotations and the default class are patched.
- apiGroups: [memory.locus.dev]
  resources: [checkpointstores]
  verbs: [get, list, watch, patch]
- apiGroups: [memory.locus.dev]
  resources: [checkpointstores/status]
  verbs: [patch]
# Clusters that enforce permissions on owner references ask for this when a binding is created.
- apiGroups: [memory.locus.dev]
  resources: [checkpointstores/finalizers]
  verbs: [update]
# Administrators' Secrets are read by name, bindings are written; neither is listed or watched.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, update, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# Pods that the webhook has missed, or that share a claim, are reported; nothing is ever changed on a pod.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Stores of files: their claims.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* What the controller may do with objects that are in no namespace. */}}
{{- define "locus-operator.rulesForCluster" -}}
# Classes: watched; finalizer and kopf's own annotations are patched.
- apiGroups: [memory.locus.dev]
  resources: [checkpointstoreclasses]
  verbs: [get, list, watch, patch]
- apiGroups: [memory.locus.dev]
  resources: [checkpointstoreclasses/status]
  verbs: [patch]
# Stores of files: what the claims' StorageClasses can do.
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get]
# The UID of kube-system identifies the cluster; labels decide who may use a class, and whose pods are selected.
- apiGroups: [""]
  resources: [namespaces]
  {{- with .Values.watchNamespaces }}
  resourceNames: {{ append . "kube-system" | uniq | sortAlpha | toJson }}
  verbs: [get]
  {{- else }}
  verbs: [get, list]
  {{- end }}
{{- if .Values.watchNamespaces }}
# A class must not go while it has stores, in whatever namespace.
- apiGroups: [memory.locus.dev]
  resources: [checkpointstores]
  verbs: [list]
{{- end }}
{{- if eq (include "locus-operator.managesCertificate" .) "true" }}
# The `caBundle` of the webhook. Whoever may patch it decides whom the API server asks about pods.
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations]
  resourceNames: [{{ include "locus-operator.clusterName" . | toYaml }}]
  verbs: [get, patch]
{{- end }}
{{- end -}}

{{/* What the controller may do in the operator's own namespace. */}}
{{- define "locus-operator.rulesForOwnNamespace" -}}
# Which of the replicas works.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "locus-operator.fullname" . | toYaml }}]
  verbs: [get, update]
# A name cannot be asked for before there is one.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- if .Values.watchNamespaces }}
# What classes refer to.
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get]
{{- if eq (include "locus-operator.managesCertificate" .) "true" }}
# The webhook's certificate.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "locus-operator.certificateSecret" . | toYaml }}]
  verbs: [update]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- end }}
{{- end }}
{{- end -}}

{{/* The webhook knows the stores, and nothing else of the cluster. */}}
{{- define "locus-operator.rulesForWebhook" -}}
- apiGroups: [memory.locus.dev]
  resources: [checkpointstores]
  verbs: [list, watch]
{{- end -}}

{{/* A ClusterRole and who has it: root, part, suffix, account, rules, annotations. */}}
{{- define "locus-operator.clusterGrant" -}}
{{- $name := printf "%s-%s" (include "locus-operator.clusterName" .root) .suffix }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $name }}
  {{- include "locus-operator.metadata" . | nindent 2 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  {{- include "locus-operator.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
  - {kind: ServiceAccount, name: {{ .account | toYaml }}, namespace: {{ .root.Release.Namespace | toYaml }}}
{{- end -}}

{{/* A Role and who has it: the same, and namespace. */}}
{{- define "locus-operator.grant" -}}
{{- $name := printf "%s-%s" (include "locus-operator.clusterName" .root) .suffix }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ .namespace | toYaml }}
  {{- include "locus-operator.metadata" . | nindent 2 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ .namespace | toYaml }}
  {{- include "locus-operator.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
  - {kind: ServiceAccount, name: {{ .account | toYaml }}, namespace: {{ .root.Release.Namespace | toYaml }}}
{{- end -}}
