<?php

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class extends Migration
{
    public function up(): void
    {
        Schema::create('seen', function (Blueprint $table) {
            $table->string('id')->primary();
            $table->timestamp('at')->useCurrent();
        });
        Schema::create('recharge', function (Blueprint $table) {
            $table->string('reference_no')->primary();
            $table->string('status');
            $table->string('amount')->nullable();
            $table->unsignedBigInteger('sequence');
        });
        Schema::create('notice', function (Blueprint $table) {
            $table->string('reference_no');
            $table->string('text');
        });
        Schema::create('feed', function (Blueprint $table) {
            $table->unsignedTinyInteger('one')->primary();
            $table->unsignedBigInteger('after');
        });
    }

    public function down(): void
    {
        foreach (['feed', 'notice', 'recharge', 'seen'] as $table) {
            Schema::drop($table);
        }
    }
};
