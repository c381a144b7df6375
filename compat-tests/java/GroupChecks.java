// What Kafka's command line tools do not show: the records of __consumer_offsets as Kafka's own coordinator reads them, and
// calls of Admin that no tool makes.
//
//   java GroupChecks records BOOTSTRAP     every record of __consumer_offsets that is live, a line each: key and value
//   java GroupChecks admin BOOTSTRAP       lines of facts, see below

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.*;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.coordinator.common.runtime.CoordinatorRecord;
import org.apache.kafka.coordinator.group.GroupCoordinatorRecordSerde;
import org.apache.kafka.coordinator.group.generated.CoordinatorRecordJsonConverters;

public class GroupChecks {
    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[1];
        switch (arguments[0]) {
            case "records" -> records(bootstrap);
            case "admin" -> admin(bootstrap);
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    /** The last record of each key, as a coordinator that loads the topic would keep it. */
    static void records(String bootstrap) {
        Map<String, String> live = new TreeMap<>();
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest");
        GroupCoordinatorRecordSerde serde = new GroupCoordinatorRecordSerde();
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, bytes, bytes)) {
            List<TopicPartition> partitions = consumer.partitionsFor("__consumer_offsets").stream()
                .map(info -> new TopicPartition(info.topic(), info.partition()))
                .toList();
            consumer.assign(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    ByteBuffer value = record.value() == null ? null : ByteBuffer.wrap(record.value());
                    CoordinatorRecord decoded = serde.deserialize(ByteBuffer.wrap(record.key()), value);
                    String key = decoded.key().getClass().getSimpleName() + " "
                        + CoordinatorRecordJsonConverters.writeRecordKeyAsJson(decoded.key());
                    if (decoded.value() == null) {
                        live.remove(key);
                        continue;
                    }
                    short version = decoded.value().version();
                    JsonNode json = CoordinatorRecordJsonConverters.writeRecordValueAsJson(decoded.value().message(), version);
                    live.put(key, json.toString());
                }
            }
        }
        live.forEach((key, value) -> System.out.println(key + " " + value));
    }

    static void admin(String bootstrap) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap);
        try (Admin admin = Admin.create(config)) {
            admin.createTopics(List.of(new NewTopic("produced", 1, (short) 1))).all().get();
            TopicPartition partition = new TopicPartition("produced", 0);
            StringSerializer text = new StringSerializer();
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, text, text)) {
                for (int i = 0; i < 3; i++) {
                    producer.send(new ProducerRecord<>("produced", "x")).get();
                }
                for (ProducerState state : describeProducers(admin, partition)) {
                    System.out.println("producer epoch " + state.producerEpoch() + " last sequence " + state.lastSequence()
                        + " transaction " + state.currentTransactionStartOffset());
                }
            }
            for (ConfigResource.Type type : List.of(ConfigResource.Type.TOPIC, ConfigResource.Type.GROUP,
                    ConfigResource.Type.BROKER, ConfigResource.Type.CLIENT_METRICS)) {
                String names = admin.listConfigResources(Set.of(type), new ListConfigResourcesOptions()).all().get().stream()
                    .map(ConfigResource::name)
                    .sorted()
                    .collect(Collectors.joining(" "));
                System.out.println("config resources " + type + " " + names);
            }
            System.out.println("quotas " + admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get());
        }
    }

    static List<ProducerState> describeProducers(Admin admin, TopicPartition partition) throws Exception {
        return admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers();
    }
}
