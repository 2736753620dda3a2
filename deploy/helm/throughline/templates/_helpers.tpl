{{- define "throughline.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "throughline.labels" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/part-of: throughline
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "throughline.selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "throughline.collectorUrl" -}}
{{ .Values.webhook.collector | default (printf "http://%s-%s.%s:4318" .Release.Name (.Values.edge.enabled | ternary "edge" "collector") .Release.Namespace) }}
{{- end }}

{{- define "throughline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "throughline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "throughline.kafkaArgs" -}}
- --topic={{ .Values.kafka.topic }}
{{- if .Values.kafka.configSecret.name }}
- --kafka-config=/etc/throughline/kafka/kafka.properties
{{- end }}
{{- end }}

{{- define "throughline.memberArgs" -}}
- --from-kafka={{ .Values.kafka.brokers }}
{{ include "throughline.kafkaArgs" . | trim }}
{{- with .Values.kafka.decisionsTopic }}
- --decisions-topic={{ . }}
{{- end }}
{{- end }}

{{- define "throughline.objectEnv" -}}
{{- with .Values.objects }}
{{- with .region }}
- { name: AWS_REGION, value: {{ . | quote }} }
{{- end }}
{{- with .endpoint }}
- { name: AWS_ENDPOINT_URL, value: {{ . | quote }} }
{{- end }}
{{- if .allowHttp }}
- { name: AWS_ALLOW_HTTP, value: "true" }
{{- end }}
{{- if .caSecret.name }}
- { name: AWS_CA_BUNDLE, value: /etc/throughline/bucket/ca.crt }
{{- end }}
{{- with .credentialsSecret }}
{{- if .name }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: { secretKeyRef: { name: {{ .name }}, key: {{ .accessKeyId }} } }
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: { secretKeyRef: { name: {{ .name }}, key: {{ .secretAccessKey }} } }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "throughline.kafkaMounts" -}}
{{- if .Values.kafka.configSecret.name }}
- { name: kafka-config, mountPath: /etc/throughline/kafka, readOnly: true }
{{- end }}
{{- end }}

{{- define "throughline.objectMounts" -}}
{{- if .Values.objects.caSecret.name }}
- { name: bucket-ca, mountPath: /etc/throughline/bucket, readOnly: true }
{{- end }}
{{- end }}

{{- define "throughline.kafkaVolumes" -}}
{{- with .Values.kafka.configSecret }}
{{- if .name }}
- name: kafka-config
  secret: { secretName: {{ .name }}, items: [{ key: {{ .key }}, path: kafka.properties }] }
{{- end }}
{{- end }}
{{- end }}

{{- define "throughline.objectVolumes" -}}
{{- with .Values.objects.caSecret }}
{{- if .name }}
- name: bucket-ca
  secret: { secretName: {{ .name }}, items: [{ key: {{ .key }}, path: ca.crt }] }
{{- end }}
{{- end }}
{{- end }}

{{- define "throughline.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "throughline.check" -}}
{{- $kafka := .Values.kafka.brokers }}
{{- $objects := .Values.objects.url }}
{{- $volume := .Values.collector.volume.enabled }}
{{- if and .Values.collector.enabled (or $kafka $objects) (not $volume) }}
{{- fail "collector.volume.enabled=true is needed with kafka.brokers and objects.url: spans are in the volume before they are committed and uploaded" }}
{{- end }}
{{- if and .Values.collector.enabled (gt (int .Values.collector.replicas) 1) (not (and $kafka $objects)) }}
{{- fail "collector.replicas above 1 needs kafka.brokers, which gives each its part, and objects.url, where query nodes see all" }}
{{- end }}
{{- if and .Values.edge.enabled (not $kafka) }}
{{- fail "edge.enabled needs kafka.brokers" }}
{{- end }}
{{- if and .Values.query.enabled (not $objects) }}
{{- fail "query.enabled needs objects.url" }}
{{- end }}
{{- if and .Values.weave.enabled (not $kafka) }}
{{- fail "weave.enabled needs kafka.brokers" }}
{{- end }}
{{- if and .Values.weave.enabled (eq (empty .Values.weave.forward) (empty .Values.weave.toTopic)) }}
{{- fail "weave.enabled needs one of weave.forward and weave.toTopic" }}
{{- end }}
{{- if and .Values.webhook.enabled (not (or .Values.collector.enabled .Values.edge.enabled .Values.webhook.collector)) }}
{{- fail "webhook.collector is needed without a collector and an edge" }}
{{- end }}
{{- end }}
