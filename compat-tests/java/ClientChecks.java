// The Java clients' broader cases in one virtual machine: AdminClient, KafkaProducer with its defaults, KafkaConsumer with
// assign(). Prints a line "ok NAME" or "FAIL NAME: ..." for each check; tests/java.rs reads them.
//
//   java ClientChecks BOOTSTRAP [NAME ...]      ClientChecks list

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.*;

public class ClientChecks {
    static String bootstrap;
    static Admin admin;

    // ---- clusters and topics

    /** Contract 22: one broker, which is the controller; a stable cluster id. */
    static void describeCluster() throws Exception {
        DescribeClusterResult cluster = admin.describeCluster();
        equal(1, cluster.nodes().get().size(), "nodes");
        Node node = cluster.nodes().get().iterator().next();
        equal(node, cluster.controller().get(), "controller");
        equal(bootstrap, node.host() + ":" + node.port(), "the listener that the client came in by");
        check(!cluster.clusterId().get().isEmpty(), "a cluster id");
        equal(cluster.clusterId().get(), admin.describeCluster().clusterId().get(), "cluster id, asked again");
        admin.describeFeatures().featureMetadata().get();
    }

    /** Contract 62–64. */
    static void createTopics() throws Exception {
        NewTopic topic = new NewTopic("create", 3, (short) 1).configs(Map.of("retention.ms", "123456"));
        CreateTopicsResult created = admin.createTopics(List.of(topic));
        equal(3, created.numPartitions("create").get(), "partitions in the reply");
        equal(1, created.replicationFactor("create").get(), "replication factor in the reply");
        equal("123456", created.config("create").get().get("retention.ms").value(), "config in the reply");
        check(!created.topicId("create").get().equals(Uuid.ZERO_UUID), "a topic id");
        TopicDescription described = describe("create");
        equal(created.topicId("create").get(), described.topicId(), "topic id");
        equal(3, described.partitions().size(), "partitions");
        for (TopicPartitionInfo partition : described.partitions()) {
            equal(1, partition.isr().size(), "in-sync replicas");
            check(partition.leader() != null, "a leader");
        }

        fails(TopicExistsException.class, create(new NewTopic("create", 1, (short) 1)));
        fails(InvalidTopicException.class, create(new NewTopic("bad name", 1, (short) 1)));
        fails(InvalidTopicException.class, create(new NewTopic("..", 1, (short) 1)));
        fails(InvalidPartitionsException.class, create(new NewTopic("zero", 0, (short) 1)));
        fails(InvalidReplicationFactorException.class, create(new NewTopic("zero", 1, (short) 0)));
        NewTopic unknownKey = new NewTopic("key", 1, (short) 1).configs(Map.of("no.such.key", "1"));
        fails(InvalidConfigurationException.class, create(unknownKey));
        NewTopic badValue = new NewTopic("key", 1, (short) 1).configs(Map.of("retention.ms", "soon"));
        fails(InvalidConfigurationException.class, create(badValue));

        CreateTopicsOptions dry = new CreateTopicsOptions().validateOnly(true);
        admin.createTopics(List.of(new NewTopic("dry", 2, (short) 1)), dry).all().get();
        check(!admin.listTopics().names().get().contains("dry"), "validate_only writes nothing");
        // Broker defaults for both counts.
        admin.createTopics(List.of(new NewTopic("defaults", Optional.empty(), Optional.empty()))).all().get();
        check(describe("defaults").partitions().size() >= 1, "default partitions");
    }

    /** Contract 65. */
    static void createPartitions() throws Exception {
        topic("grow", 1);
        admin.createPartitions(Map.of("grow", NewPartitions.increaseTo(4)),
            new CreatePartitionsOptions().validateOnly(true)).all().get();
        equal(1, describe("grow").partitions().size(), "partitions after validate_only");
        admin.createPartitions(Map.of("grow", NewPartitions.increaseTo(4))).all().get();
        equal(4, describe("grow").partitions().size(), "partitions");
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            equal(0L, producer.send(new ProducerRecord<>("grow", 3, "k", "v")).get().offset(), "first offset");
        }
        equal(List.of("v"), values(read("grow", 3, 1)), "the new partition's records");
        for (int count : new int[] {4, 2}) {
            fails(InvalidPartitionsException.class,
                admin.createPartitions(Map.of("grow", NewPartitions.increaseTo(count))).all());
        }
        fails(UnknownTopicOrPartitionException.class,
            admin.createPartitions(Map.of("grow-nothing", NewPartitions.increaseTo(2))).all());
    }

    /** Contract 20, 65: by name and by id; created again, a topic is another one. */
    static void deleteTopics() throws Exception {
        topic("delete", 1);
        Uuid first = describe("delete").topicId();
        send("delete", 0, "old");
        admin.deleteTopics(List.of("delete")).all().get();
        check(!admin.listTopics().names().get().contains("delete"), "deleted topics are not listed");
        fails(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of("delete")).all());
        topic("delete", 1);
        Uuid second = describe("delete").topicId();
        check(!first.equals(second), "a new id");
        equal(0L, offset("delete", OffsetSpec.latest()).offset(), "the new topic is empty");
        fails(UnknownTopicIdException.class, admin.deleteTopics(TopicCollection.ofTopicIds(List.of(first))).all());
        admin.deleteTopics(TopicCollection.ofTopicIds(List.of(second))).all().get();
        fails(UnknownTopicIdException.class,
            admin.describeTopics(TopicCollection.ofTopicIds(List.of(second))).allTopicIds());
    }

    /** Contract 17: DescribeTopicPartitions in pages, and list-all. */
    static void describeManyTopics() throws Exception {
        List<String> names = IntStream.range(0, 40).mapToObj(i -> String.format("many-%02d", i)).toList();
        admin.createTopics(names.stream().map(name -> new NewTopic(name, 3, (short) 1)).toList()).all().get();
        DescribeTopicsOptions pages = new DescribeTopicsOptions().partitionSizeLimitPerResponse(7);
        Map<String, TopicDescription> described = admin.describeTopics(names, pages).allTopicNames().get();
        equal(new HashSet<>(names), described.keySet(), "described");
        for (TopicDescription topic : described.values()) {
            equal(List.of(0, 1, 2), topic.partitions().stream().map(TopicPartitionInfo::partition).toList(), "partitions");
        }
        Collection<TopicListing> listed = admin.listTopics().listings().get();
        Map<String, Uuid> ids = listed.stream().collect(Collectors.toMap(TopicListing::name, TopicListing::topicId));
        for (String name : names) {
            equal(described.get(name).topicId(), ids.get(name), "id of " + name);
        }
        fails(UnknownTopicOrPartitionException.class, admin.describeTopics(List.of("many-none")).allTopicNames());
        admin.deleteTopics(names).all().get();
    }

    // ---- configs

    /** Contract 66. */
    static void topicConfigs() throws Exception {
        topic("configs", 1);
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, "configs");
        ConfigEntry before = config(resource).get("retention.ms");
        check(before.isDefault(), "retention.ms is a default: " + before);
        alter(resource, "retention.ms", "60000", AlterConfigOp.OpType.SET).get();
        ConfigEntry set = config(resource).get("retention.ms");
        equal("60000", set.value(), "retention.ms");
        equal(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, set.source(), "source");
        check(!set.synonyms().isEmpty(), "synonyms");
        alter(resource, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND).get();
        Set<String> policies = Set.of(config(resource).get("cleanup.policy").value().split(","));
        equal(Set.of("delete", "compact"), policies, "cleanup.policy after APPEND");
        alter(resource, "cleanup.policy", "compact", AlterConfigOp.OpType.SUBTRACT).get();
        equal("delete", config(resource).get("cleanup.policy").value(), "cleanup.policy after SUBTRACT");
        alter(resource, "retention.ms", null, AlterConfigOp.OpType.DELETE).get();
        equal(before.value(), config(resource).get("retention.ms").value(), "retention.ms after DELETE");

        fails(InvalidConfigurationException.class, alter(resource, "no.such.key", "1", AlterConfigOp.OpType.SET));
        fails(InvalidConfigurationException.class, alter(resource, "retention.ms", "x", AlterConfigOp.OpType.SET));
        ConfigResource nothing = new ConfigResource(ConfigResource.Type.TOPIC, "configs-none");
        fails(UnknownTopicOrPartitionException.class, alter(nothing, "retention.ms", "1", AlterConfigOp.OpType.SET));
        fails(UnknownTopicOrPartitionException.class, admin.describeConfigs(List.of(nothing)).all());
        // What Streams, MirrorMaker and Terraform set is accepted and shown.
        for (String key : List.of("flush.messages", "index.interval.bytes", "segment.jitter.ms", "file.delete.delay.ms")) {
            alter(resource, key, "1000", AlterConfigOp.OpType.SET).get();
            equal("1000", config(resource).get(key).value(), key);
        }
    }

    /** Contract 66: what tools look up on the broker resource. */
    static void brokerConfigs() throws Exception {
        String id = String.valueOf(admin.describeCluster().nodes().get().iterator().next().id());
        Map<String, ConfigEntry> configs = config(new ConfigResource(ConfigResource.Type.BROKER, id));
        for (String key : List.of("default.replication.factor", "num.partitions", "auto.create.topics.enable",
                "delete.topic.enable", "log.retention.ms", "min.insync.replicas")) {
            check(configs.containsKey(key), key + " is described");
        }
        check(Integer.parseInt(configs.get("num.partitions").value()) >= 1, "num.partitions");
    }

    /** max.message.bytes is obeyed (contract 29), at once after it is changed. */
    static void maxMessageBytes() throws Exception {
        topic("limits", 1);
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, "limits");
        alter(resource, "max.message.bytes", "1000", AlterConfigOp.OpType.SET).get();
        byte[] value = new byte[5000];
        try (Producer<byte[], byte[]> producer = bytesProducer(Map.of())) {
            fails(RecordTooLargeException.class, producer.send(new ProducerRecord<>("limits", value)));
            alter(resource, "max.message.bytes", "10000", AlterConfigOp.OpType.SET).get();
            equal(0L, producer.send(new ProducerRecord<>("limits", value)).get().offset(), "offset");
        }
    }

    // ---- producing and consuming

    /** A producer with its defaults (idempotent, acks=all): keys, headers with one key twice, null values, timestamps. */
    static void producerDefaults() throws Exception {
        topic("defaults-producer", 3);
        int count = 3000;
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            for (int i = 0; i < count; i++) {
                String value = i % 7 == 0 ? null : "value-" + i;
                String key = i % 5 == 0 ? null : "key-" + i;
                List<Header> headers = List.of(new RecordHeader("h", bytes("a" + i)), new RecordHeader("h", null),
                    new RecordHeader("empty", new byte[0]));
                sent.add(producer.send(new ProducerRecord<>("defaults-producer", i % 3, BASE_TIME + i, key, value, headers)));
            }
        }
        for (int i = 0; i < count; i++) {
            equal((long) (i / 3), sent.get(i).get().offset(), "offset of record " + i);
            equal(BASE_TIME + i, sent.get(i).get().timestamp(), "timestamp of record " + i);
        }
        for (int partition = 0; partition < 3; partition++) {
            List<ConsumerRecord<String, String>> records = read("defaults-producer", partition, count / 3);
            for (int at = 0; at < records.size(); at++) {
                int i = at * 3 + partition;
                ConsumerRecord<String, String> record = records.get(at);
                equal((long) at, record.offset(), "offset");
                equal(i % 5 == 0 ? null : "key-" + i, record.key(), "key");
                equal(i % 7 == 0 ? null : "value-" + i, record.value(), "value");
                equal(BASE_TIME + i, record.timestamp(), "timestamp");
                equal(TimestampType.CREATE_TIME, record.timestampType(), "timestamp type");
                Header[] headers = record.headers().toArray();
                equal(3, headers.length, "headers");
                equal("h", headers[0].key(), "first header");
                equal("a" + i, new String(headers[0].value(), StandardCharsets.UTF_8), "first header's value");
                check(headers[1].key().equals("h") && headers[1].value() == null, "the second header is h, null");
                check(headers[2].key().equals("empty") && headers[2].value().length == 0, "the third header is empty");
            }
        }
    }

    static void codecNone() throws Exception { codec("none"); }
    static void codecGzip() throws Exception { codec("gzip"); }
    static void codecSnappy() throws Exception { codec("snappy"); }
    static void codecLz4() throws Exception { codec("lz4"); }
    static void codecZstd() throws Exception { codec("zstd"); }

    static void codec(String codec) throws Exception {
        String topic = "codec-" + codec;
        topic(topic, 1);
        List<String> expected = new ArrayList<>();
        try (KafkaProducer<String, String> producer = producer(Map.of("compression.type", codec, "linger.ms", "50"))) {
            for (int i = 0; i < 1000; i++) {
                expected.add((codec + " record " + i + " ").repeat(1 + i % 20));
                producer.send(new ProducerRecord<>(topic, 0, null, expected.get(i)));
            }
        }
        equal(expected, values(read(topic, 0, 1000)), "values");
        // From the middle of a batch.
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seek(partition, 503);
            equal(expected.get(503), poll(consumer, 1).get(0).value(), "value at 503");
        }
    }

    static void acks() throws Exception {
        topic("acks", 1);
        for (String acks : List.of("0", "1", "all")) {
            Map<String, String> config = Map.of("acks", acks, "enable.idempotence", "false");
            try (KafkaProducer<String, String> producer = producer(config)) {
                RecordMetadata metadata = producer.send(new ProducerRecord<>("acks", 0, null, "acks " + acks)).get();
                equal(acks.equals("0"), !metadata.hasOffset(), "acks=" + acks + " has no offset");
            }
        }
        equal(List.of("acks 0", "acks 1", "acks all"), values(read("acks", 0, 3)), "values");
    }

    /** Broker time (contract 30): the producer learns it, consumers see it. */
    static void logAppendTime() throws Exception {
        NewTopic topic = new NewTopic("append-time", 1, (short) 1).configs(Map.of("message.timestamp.type", "LogAppendTime"));
        admin.createTopics(List.of(topic)).all().get();
        long before = System.currentTimeMillis() - 1000;
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            RecordMetadata metadata = producer.send(new ProducerRecord<>("append-time", 0, 12345L, "k", "v")).get();
            check(metadata.timestamp() >= before, "the reply's timestamp is the broker's: " + metadata.timestamp());
            ConsumerRecord<String, String> record = read("append-time", 0, 1).get(0);
            equal(metadata.timestamp(), record.timestamp(), "timestamp");
            equal(TimestampType.LOG_APPEND_TIME, record.timestampType(), "timestamp type");
        }
    }

    /** Topics that appear when they are produced to (contract 18). */
    static void autoCreate() throws Exception {
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            equal(0L, producer.send(new ProducerRecord<>("auto-created", "k", "v")).get().offset(), "offset");
        }
        check(admin.listTopics().names().get().contains("auto-created"), "listed");
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            fails(InvalidTopicException.class, producer.send(new ProducerRecord<>("not a name", "k", "v")));
        }
    }

    // ---- offsets

    /** Contract 58–59, through the consumer. */
    static void offsetsAndSeeks() throws Exception {
        topic("offsets", 2);
        List<Long> times = List.of(BASE_TIME, BASE_TIME + 100, BASE_TIME + 50, BASE_TIME + 200);
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            for (long time : times) {
                producer.send(new ProducerRecord<>("offsets", 0, time, "k", "at " + (time - BASE_TIME))).get();
            }
        }
        TopicPartition full = new TopicPartition("offsets", 0), empty = new TopicPartition("offsets", 1);
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            equal(Map.of(full, 0L, empty, 0L), consumer.beginningOffsets(List.of(full, empty)), "beginning");
            equal(Map.of(full, 4L, empty, 0L), consumer.endOffsets(List.of(full, empty)), "end");
            // The first offset whose timestamp is at least the target: of 50 that is 1 (100), not 2 (50).
            long[][] expected = {{0, 0}, {1, 1}, {50, 1}, {100, 1}, {101, 3}, {200, 3}};
            for (long[] pair : expected) {
                Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(Map.of(full, BASE_TIME + pair[0]));
                equal(pair[1], found.get(full).offset(), "offset for time " + pair[0]);
            }
            check(consumer.offsetsForTimes(Map.of(full, BASE_TIME + 201)).get(full) == null, "nothing that late");
            check(consumer.offsetsForTimes(Map.of(empty, 0L)).get(empty) == null, "nothing in an empty partition");

            consumer.assign(List.of(full));
            consumer.seekToEnd(List.of(full));
            equal(4L, consumer.position(full), "position at the end");
            consumer.seek(full, 2);
            equal(List.of("at 50", "at 200"), values(poll(consumer, 2)), "from 2");
            equal(4L, consumer.position(full), "position after that");
            consumer.seekToBeginning(List.of(full));
            equal("at 0", poll(consumer, 1).get(0).value(), "from the beginning");
            equal(2, consumer.partitionsFor("offsets").size(), "partitionsFor");
            check(consumer.listTopics().containsKey("offsets"), "listTopics");
        }
        try (KafkaConsumer<String, String> consumer = consumer(Map.of("auto.offset.reset", "none"))) {
            consumer.assign(List.of(full));
            consumer.seek(full, 99);
            try {
                for (int i = 0; i < 20; i++) consumer.poll(Duration.ofSeconds(1));
                throw new AssertionError("offset 99 of 4 is no error");
            } catch (org.apache.kafka.clients.consumer.OffsetOutOfRangeException e) {
                equal(Map.of(full, 99L), e.offsetOutOfRangePartitions(), "out of range");
            }
        }
    }

    /** Contract 58, through AdminClient. */
    static void listOffsets() throws Exception {
        topic("list-offsets", 1);
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            for (long time : new long[] {10, 30, 20}) {
                producer.send(new ProducerRecord<>("list-offsets", 0, BASE_TIME + time, "k", "v")).get();
            }
        }
        equal(0L, offset("list-offsets", OffsetSpec.earliest()).offset(), "earliest");
        equal(3L, offset("list-offsets", OffsetSpec.latest()).offset(), "latest");
        equal(1L, offset("list-offsets", OffsetSpec.forTimestamp(BASE_TIME + 15)).offset(), "for a timestamp");
        equal(-1L, offset("list-offsets", OffsetSpec.forTimestamp(BASE_TIME + 31)).offset(), "for a late timestamp");
        ListOffsetsResult.ListOffsetsResultInfo max = offset("list-offsets", OffsetSpec.maxTimestamp());
        equal(1L, max.offset(), "offset of the max timestamp");
        equal(BASE_TIME + 30, max.timestamp(), "max timestamp");
        equal(0L, offset("list-offsets", OffsetSpec.earliestLocal()).offset(), "earliest local");
        equal(-1L, offset("list-offsets", OffsetSpec.latestTiered()).offset(), "latest tiered");
        TopicPartition nothing = new TopicPartition("list-offsets-none", 0);
        fails(UnknownTopicOrPartitionException.class, admin.listOffsets(Map.of(nothing, OffsetSpec.latest()),
            new ListOffsetsOptions().timeoutMs(3000)).all());
    }

    // ---- helpers

    static final boolean AGAINST_KAFKA = System.getenv("JAVA_TESTS_AGAINST_KAFKA") != null;
    static final long BASE_TIME = System.currentTimeMillis() - 3_600_000;

    static void check(boolean right, String what) {
        if (!right) throw new AssertionError("expected: " + what);
    }

    static void equal(Object expected, Object actual, String what) {
        if (!Objects.equals(expected, actual)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + actual);
        }
    }

    /** Some futures of the admin client time out on retriable errors: the cause tells then. */
    static void fails(Class<? extends Exception> expected, Future<?> future) throws Exception {
        try {
            future.get();
        } catch (ExecutionException e) {
            for (Throwable cause = e; cause != null; cause = cause.getCause()) {
                if (expected.isInstance(cause)) return;
            }
            throw new AssertionError("expected " + expected.getSimpleName() + ", got " + e.getCause(), e);
        }
        throw new AssertionError("expected " + expected.getSimpleName() + ", got success");
    }

    static KafkaFuture<Void> create(NewTopic topic) {
        return admin.createTopics(List.of(topic)).all();
    }

    static void topic(String name, int partitions) throws Exception {
        create(new NewTopic(name, partitions, (short) 1)).get();
    }

    static TopicDescription describe(String name) throws Exception {
        // Apache Kafka's brokers learn of a topic a moment after its creator does; ours knows it at once.
        for (int i = 0; AGAINST_KAFKA && i < 50 && !admin.listTopics().names().get().contains(name); i++) {
            Thread.sleep(100);
        }
        return admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
    }

    static Map<String, ConfigEntry> config(ConfigResource resource) throws Exception {
        DescribeConfigsOptions options = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        return admin.describeConfigs(List.of(resource), options).all().get().get(resource).entries().stream()
            .collect(Collectors.toMap(ConfigEntry::name, entry -> entry));
    }

    static KafkaFuture<Void> alter(ConfigResource resource, String key, String value, AlterConfigOp.OpType type) {
        AlterConfigOp op = new AlterConfigOp(new ConfigEntry(key, value), type);
        return admin.incrementalAlterConfigs(Map.of(resource, List.of(op))).all();
    }

    static ListOffsetsResult.ListOffsetsResultInfo offset(String topic, OffsetSpec spec) throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        return admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get();
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static Map<String, Object> with(Map<String, String> config) {
        Map<String, Object> all = new HashMap<>(config);
        all.put("bootstrap.servers", bootstrap);
        return all;
    }

    static KafkaProducer<String, String> producer(Map<String, String> config) {
        return new KafkaProducer<>(with(config), new StringSerializer(), new StringSerializer());
    }

    static Producer<byte[], byte[]> bytesProducer(Map<String, String> config) {
        return new KafkaProducer<>(with(config), new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<String, String> consumer(Map<String, String> config) {
        return new KafkaConsumer<>(with(config), new StringDeserializer(), new StringDeserializer());
    }

    static void send(String topic, int partition, String value) throws Exception {
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            producer.send(new ProducerRecord<>(topic, partition, null, value)).get();
        }
    }

    static List<String> values(List<ConsumerRecord<String, String>> records) {
        return records.stream().map(ConsumerRecord::value).toList();
    }

    static List<ConsumerRecord<String, String>> read(String topic, int partition, int count) {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            TopicPartition from = new TopicPartition(topic, partition);
            consumer.assign(List.of(from));
            consumer.seekToBeginning(List.of(from));
            List<ConsumerRecord<String, String>> records = poll(consumer, count);
            equal(count, records.size(), "records of " + from);
            return records;
        }
    }

    /** At least `count` records. */
    static List<ConsumerRecord<String, String>> poll(KafkaConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        while (records.size() < count) {
            check(System.nanoTime() < deadline, count + " records within a minute, got " + records.size());
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        }
        return records;
    }

    static List<Method> checks() {
        return Arrays.stream(ClientChecks.class.getDeclaredMethods())
            .filter(method -> method.getParameterCount() == 0 && method.getReturnType() == void.class
                && !method.isSynthetic())
            .sorted(Comparator.comparing(Method::getName)).toList();
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("list")) {
            checks().forEach(method -> System.out.println(method.getName()));
            return;
        }
        bootstrap = arguments[0];
        Set<String> wanted = new HashSet<>(Arrays.asList(arguments).subList(1, arguments.length));
        boolean failed = false;
        try (Admin client = Admin.create(Map.of("bootstrap.servers", bootstrap, "default.api.timeout.ms", "30000"))) {
            admin = client;
            for (Method check : checks()) {
                if (!wanted.isEmpty() && !wanted.contains(check.getName())) continue;
                try {
                    check.invoke(null);
                    System.out.println("ok " + check.getName());
                } catch (InvocationTargetException e) {
                    failed = true;
                    System.out.println("FAIL " + check.getName() + ": " + e.getCause());
                    e.getCause().printStackTrace();
                }
            }
        }
        System.exit(failed ? 1 : 0);
    }
}
