{{/* The policy of a resource, without `variables` and `validations`. Arguments: root, name, group, resource,
operations. */}}
{{- define "regcred.policy" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name }}
  labels:
    {{- include "regcred.labels" .root | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [{{ .group | quote }}]
        apiVersions: ["*"]
        operations: {{ toJson .operations }}
        resources: [{{ .resource }}]
  matchConditions:
    - name: by-regcred
      expression: request.userInfo.username == {{ include "regcred.user" .root | quote }}
{{- end }}

{{/* The binding of a policy; `paramRef` may follow. Arguments: root, name. */}}
{{- define "regcred.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "regcred.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end }}

{{/* Two variables with a map or list of the object before and after the request, empty where it is absent.
Arguments: name (`NAME` and `oldNAME` are the variables), path, empty, operations (CREATE has no object before,
DELETE none after). */}}
{{- define "regcred.beforeAndAfter" -}}
- name: {{ .name }}
  expression: >-
    {{ if has "DELETE" .operations }}request.operation != "DELETE" && {{ end }}has(object.{{ .path }}) ? object.{{ .path }} : {{ .empty }}
- name: old{{ .name | title }}
  expression: >-
    {{ if has "CREATE" .operations }}request.operation == "UPDATE" && {{ end }}has(oldObject.{{ .path }}) ? oldObject.{{ .path }} : {{ .empty }}
{{- end }}

{{/* The most elements of a list or map that an expression visits. The time of a loop grows with the square of its
elements, whatever the budget says: 0.2 s for 10,000, 15 s for 87,000. No object in use has as many; one that a tenant
fills is compared by its size alone, so that it can neither stop regcred nor load the API server. regcred's account
cannot fill one: every expression admits a closed list of keys, and no element twice. */}}
{{- define "regcred.loopLimit" -}}
2000
{{- end }}

{{/* An expression: a map changes in the keys `k` for which `except` is true, and in no other. `?` reads an absent key
without an error. Arguments: name (of a map from beforeAndAfter), except. */}}
{{- define "regcred.sameMap" -}}
{{- $new := printf "variables.%s" .name }}
{{- $old := printf "variables.old%s" (title .name) -}}
{{ $new }} == {{ $old }} || size({{ $new }}) <= size({{ $old }}) + 4 && (size({{ $old }}) > {{ include "regcred.loopLimit" . }}
|| {{ $new }}.all(k, {{ $old }}[?k] == {{ $new }}[?k] || {{ .except }})
&& {{ $old }}.all(k, k in {{ $new }} || {{ .except }}))
{{- end }}

{{/* An expression: a list changes in the elements `it` for which `except` is true, and in no other. It gets one more
where it has none of them: else a stolen token could fill it until nothing is visited any more. Arguments: as above. */}}
{{- define "regcred.sameList" -}}
{{- $new := printf "variables.%s" .name }}
{{- $old := printf "variables.old%s" (title .name) -}}
{{ $new }} == {{ $old }} || (size({{ $old }}) > {{ include "regcred.loopLimit" . }} ? size({{ $new }}) <= size({{ $old }})
: (size({{ $new }}) <= size({{ $old }}) || size({{ $new }}) == size({{ $old }}) + 1 && !{{ $old }}.exists(it, {{ .except }}))
&& {{ $new }}.filter(it, !({{ .except }})) == {{ $old }}.filter(it, !({{ .except }})))
{{- end }}
